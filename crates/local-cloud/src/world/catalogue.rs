//! What is on offer: sizes with prices, regions, base images.

/// A size.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Its slug.
    pub slug: &'static str,
    /// MB.
    pub memory_mb: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// GB.
    pub disk_gb: u64,
    /// TB.
    pub transfer_tb: f64,
    /// US cents.
    pub monthly_cents: u64,
    /// Where it is.
    pub regions: &'static [&'static str],
    /// Its family, in words.
    pub about: &'static str,
}

/// A base image.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// Its id.
    pub id: u64,
    /// Its slug.
    pub slug: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its distribution.
    pub distribution: &'static str,
    /// GB.
    pub min_disk_gb: u64,
}

/// The regions.
pub const REGIONS: [&str; 13] = [
    "ams3", "atl1", "blr1", "fra1", "lon1", "nyc1", "nyc2", "nyc3", "sfo2", "sfo3", "sgp1", "syd1",
    "tor1",
];
const SOME: &[&str] = &["ams3", "fra1", "lon1", "nyc1", "nyc3", "sfo3", "sgp1", "syd1", "tor1"];

#[expect(clippy::too_many_arguments, reason = "a row of the table below, in its order")]
const fn size(
    slug: &'static str,
    memory_mb: u64,
    vcpus: u64,
    disk_gb: u64,
    transfer_tb: f64,
    dollars: u64,
    regions: &'static [&'static str],
    about: &'static str,
) -> Size {
    Size {
        slug,
        memory_mb,
        vcpus,
        disk_gb,
        transfer_tb,
        monthly_cents: dollars * 100,
        regions,
        about,
    }
}

/// The sizes, cheapest first within a family.
pub const SIZES: [Size; 24] = [
    size("s-1vcpu-512mb-10gb", 512, 1, 10, 0.5, 4, SOME, "Basic"),
    size("s-1vcpu-1gb", 1024, 1, 25, 1.0, 6, &REGIONS, "Basic"),
    size("s-1vcpu-1gb-amd", 1024, 1, 25, 1.0, 7, SOME, "Basic AMD"),
    size("s-1vcpu-1gb-intel", 1024, 1, 25, 1.0, 7, SOME, "Basic Intel"),
    size("s-1vcpu-2gb", 2048, 1, 50, 2.0, 12, &REGIONS, "Basic"),
    size("s-1vcpu-2gb-amd", 2048, 1, 50, 2.0, 14, SOME, "Basic AMD"),
    size("s-2vcpu-2gb", 2048, 2, 60, 3.0, 18, &REGIONS, "Basic"),
    size("s-2vcpu-2gb-amd", 2048, 2, 60, 3.0, 21, SOME, "Basic AMD"),
    size("s-2vcpu-4gb", 4096, 2, 80, 4.0, 24, &REGIONS, "Basic"),
    size("s-2vcpu-4gb-amd", 4096, 2, 80, 4.0, 28, SOME, "Basic AMD"),
    size("s-4vcpu-8gb", 8192, 4, 160, 5.0, 48, &REGIONS, "Basic"),
    size("s-4vcpu-8gb-amd", 8192, 4, 160, 5.0, 56, SOME, "Basic AMD"),
    size("s-8vcpu-16gb", 16_384, 8, 320, 6.0, 96, &REGIONS, "Basic"),
    size("c-2", 4096, 2, 25, 4.0, 42, SOME, "CPU-Optimized"),
    size("c-4", 8192, 4, 50, 5.0, 84, SOME, "CPU-Optimized"),
    size("c-8", 16_384, 8, 100, 6.0, 168, SOME, "CPU-Optimized"),
    size("g-2vcpu-8gb", 8192, 2, 25, 4.0, 63, SOME, "General Purpose"),
    size("g-4vcpu-16gb", 16_384, 4, 50, 5.0, 126, SOME, "General Purpose"),
    size("g-8vcpu-32gb", 32_768, 8, 100, 6.0, 252, SOME, "General Purpose"),
    size("m-2vcpu-16gb", 16_384, 2, 50, 4.0, 84, SOME, "Memory-Optimized"),
    size("m-4vcpu-32gb", 32_768, 4, 100, 6.0, 168, SOME, "Memory-Optimized"),
    size("so-2vcpu-16gb", 16_384, 2, 300, 4.0, 131, SOME, "Storage-Optimized"),
    size("so-4vcpu-32gb", 32_768, 4, 600, 6.0, 262, SOME, "Storage-Optimized"),
    size("gd-2vcpu-8gb", 8192, 2, 50, 4.0, 68, SOME, "General Purpose 2x SSD"),
];

/// The base images.
pub const IMAGES: [Image; 6] = [
    Image {
        id: 155_133_621,
        slug: "ubuntu-22-04-x64",
        name: "22.04 (LTS) x64",
        distribution: "Ubuntu",
        min_disk_gb: 7,
    },
    Image {
        id: 195_932_981,
        slug: "ubuntu-24-04-x64",
        name: "24.04 (LTS) x64",
        distribution: "Ubuntu",
        min_disk_gb: 7,
    },
    Image {
        id: 158_784_901,
        slug: "debian-12-x64",
        name: "12 x64",
        distribution: "Debian",
        min_disk_gb: 7,
    },
    Image {
        id: 201_459_812,
        slug: "debian-13-x64",
        name: "13 x64",
        distribution: "Debian",
        min_disk_gb: 7,
    },
    Image {
        id: 170_448_801,
        slug: "rockylinux-9-x64",
        name: "9 x64",
        distribution: "Rocky Linux",
        min_disk_gb: 10,
    },
    Image {
        id: 178_113_944,
        slug: "fedora-42-x64",
        name: "42 x64",
        distribution: "Fedora",
        min_disk_gb: 7,
    },
];

/// A size by slug.
pub(crate) fn size_by_slug(slug: &str) -> Option<&'static Size> {
    SIZES.iter().find(|size| size.slug == slug)
}

/// A base image by slug or id.
pub(crate) fn image(name: &str) -> Option<&'static Image> {
    IMAGES.iter().find(|image| image.slug == name || image.id.to_string() == name)
}
