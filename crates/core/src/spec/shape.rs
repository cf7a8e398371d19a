//! The form of a spec, as one table: which keys there are, of which type, with which default.
//!
//! Validation walks it ([`check`](mod@super::check)) and the JSON Schema is printed from it ([`schema`](mod@super::schema)), so the
//! two cannot disagree. Rules that need two keys at once are not here but in [`compile`](mod@super::compile).

use super::document::{Node, Value};

/// The form of a value.
pub(super) enum Shape {
    /// A mapping with these keys.
    Object(&'static [Field]),
    /// A list.
    List(&'static Self, &'static str),
    /// A mapping from names of the user's to texts, any of which may be secret.
    Texts,
    /// A text.
    Text(Format),
    /// A whole number between two, both included.
    Number(u64, u64),
    /// True or false.
    Flag,
    /// One of these; the first whose kind of value fits is the one that counts.
    Either(&'static [Self]),
}

impl Shape {
    /// Whether this is the one among several that a node is held against.
    pub(super) fn takes(&self, node: &Node) -> bool {
        matches!(
            (self, &node.value),
            (Self::Text(_), Value::Scalar(..)) | (Self::Object(_), Value::Map(_))
        )
    }
}

/// Every field of the table, with the path of the block it stands in.
pub(super) fn every_field() -> Vec<(String, &'static Field)> {
    fn gather(shape: &'static Shape, path: &str, found: &mut Vec<(String, &'static Field)>) {
        match shape {
            Shape::Object(fields) => {
                for field in *fields {
                    found.push((path.to_owned(), field));
                    gather(&field.shape, &join(path, field.name), found);
                }
            }
            Shape::List(item, _) => gather(item, path, found),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| gather(shape, path, found)),
            Shape::Texts | Shape::Text(_) | Shape::Number(..) | Shape::Flag => {}
        }
    }
    let mut found = Vec::new();
    gather(&SPEC, "", &mut found);
    found
}

/// The path of a key in a block.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key of an object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// One sentence for the schema.
    pub(super) about: &'static str,
}

/// The form of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Anything but nothing.
    Any,
    /// Anything but nothing; never shown.
    Secret,
    /// One line: a name or a path.
    Line,
    /// An address of the web.
    Url,
    /// A stack's name.
    Stack,
    /// A slug of the cloud: region, size, image.
    Slug,
    /// A Spaces bucket.
    Bucket,
    /// A zone such as `example.org`.
    Zone,
    /// A relative record name, or `@`.
    RecordName,
    /// An MD5 fingerprint.
    Fingerprint,
    /// An OpenSSH public key.
    PublicKey,
    /// A reference to an image.
    Image,
    /// A path of a URL.
    UrlPath,
    /// `500ms`, `2s`, `2m`, `1h`.
    Duration,
}

impl Format {
    /// The pattern of the schema, and what a text that does not fit is told.
    pub(super) fn pattern(self) -> (&'static str, &'static str) {
        match self {
            Self::Any | Self::Secret => (r"^[\s\S]+$", "a text that is not empty"),
            Self::Line => (r"^[^\u0000-\u001f\u007f]+$", "one line of text"),
            Self::Url => (r"^https?://[!-~]+$", "a URL such as https://s3.example.com"),
            Self::Stack => (
                "^[a-z][a-z0-9-]{0,39}$",
                "1 to 40 lower-case letters, digits and dashes, beginning with a letter",
            ),
            Self::Slug => {
                ("^[a-z0-9][a-z0-9._-]*$", "a slug: lower-case letters, digits, dashes and dots")
            }
            Self::Bucket => {
                ("^[a-z0-9][a-z0-9-]{2,62}$", "3 to 63 lower-case letters, digits and dashes")
            }
            Self::Zone => (
                r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$",
                "a zone such as example.org, in lower case",
            ),
            Self::RecordName => (
                "^(@|[a-z0-9_*]([a-z0-9_-]*[a-z0-9])?)$",
                "one label such as www, relative to the zone, or @ for the zone itself",
            ),
            Self::Fingerprint => (
                "^[0-9a-f]{2}(:[0-9a-f]{2}){15}$",
                "an MD5 fingerprint: 16 pairs of hex digits with colons, as the account shows it",
            ),
            Self::PublicKey => (
                r"^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*( .*)?$",
                "an OpenSSH public key: `ssh-ed25519 AAAA… comment`",
            ),
            Self::Image => {
                (r"^[A-Za-z0-9._:/@-]+$", "an image such as registry.example.com/app:1.0")
            }
            Self::UrlPath => ("^/[!-~]*$", "a path of visible ASCII that begins with /"),
            Self::Duration => (
                "^0*[1-9][0-9]*(ms|s|m|h)$",
                "more than nothing and at most a day: 500ms, 2s, 2m, 1h",
            ),
        }
    }
}

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, required: true, about }
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, required: false, about }
}

const SLUG: Shape = Shape::Text(Format::Slug);
const PORT: Shape = Shape::Number(1, 65_535);
const COMMAND: Shape = Shape::List(&Shape::Text(Format::Any), "word");

/// The whole spec.
pub(super) const SPEC: Shape = Shape::Object(&[
    required("version", Shape::Number(1, 1), "The format of this file; 1."),
    required(
        "stack",
        Shape::Text(Format::Stack),
        "Names everything, and owns everything tagged seachange:STACK.",
    ),
    required("region", SLUG, "Region slug, such as fra1."),
    optional("state", STATE, "Where the state is kept; the folder .seachange without it."),
    optional("ssh", SSH, "The way into the droplets. Without it nothing is contacted over SSH."),
    required(
        "workers",
        WORKERS,
        "The droplets that run the app: one is live, the others keep earlier releases warm.",
    ),
    optional(
        "floating_ip",
        Shape::Object(&[]),
        "The address that a release moves from worker to worker.",
    ),
    optional("reserved_ip", Shape::Object(&[]), "The newer name of floating_ip."),
    optional("load_balancer", LOAD_BALANCER, "A droplet with HAProxy in front of the floating IP."),
    optional("domain", DOMAIN, "The names users type."),
    optional("app", APP, "What runs on the workers."),
    optional("deploy", DEPLOY, "How a release goes."),
]);

const STATE: Shape = Shape::Object(&[
    optional(
        "local",
        Shape::Object(&[required(
            "path",
            Shape::Text(Format::Line),
            "Relative to where the command runs.",
        )]),
        "A folder.",
    ),
    optional(
        "spaces",
        Shape::Object(&[
            required("bucket", Shape::Text(Format::Bucket), "The Space's name."),
            optional("region", SLUG, "Its region."),
            optional("endpoint", Shape::Text(Format::Url), "URL of another S3-compatible store."),
            optional("prefix", SLUG, "Stands before every key; seachange without it."),
            optional(
                "path_style",
                Shape::Flag,
                "The bucket in the path instead of in the host name; true without it if there is an endpoint.",
            ),
        ]),
        "A Space, or any S3-compatible store.",
    ),
    optional("encryption", ENCRYPTION, "Encrypts states, history and saved plans."),
]);

const ENCRYPTION: Shape = Shape::Object(&[
    optional("passphrase", Shape::Text(Format::Secret), "Seals, unless there are recipients."),
    optional(
        "recipients",
        Shape::List(&Shape::Text(Format::Line), "recipient"),
        "Seal instead of a passphrase: age1…, ssh-ed25519 … or ssh-rsa ….",
    ),
    optional(
        "keys",
        Shape::List(&Shape::Text(Format::Secret), "key"),
        "Open as well: AGE-SECRET-KEY-1…, an OpenSSH private key, or an earlier passphrase.",
    ),
    optional("required", Shape::Flag, "Refuse what is not encrypted; false without it."),
]);

const SSH: Shape = Shape::Object(&[
    required(
        "keys",
        Shape::List(
            &Shape::Either(&[
                Shape::Text(Format::Fingerprint),
                Shape::Object(&[
                    required("name", Shape::Text(Format::Line), "Its name in the account."),
                    required("public_key", Shape::Text(Format::PublicKey), "The public half."),
                ]),
            ]),
            "key",
        ),
        "Keys put into every droplet at creation: fingerprints of the account's, or new ones to add.",
    ),
    optional(
        "private_key",
        Shape::Either(&[
            Shape::Text(Format::Secret),
            Shape::Object(&[required(
                "file",
                Shape::Text(Format::Line),
                "Path of the private key.",
            )]),
        ]),
        "The private key's text, { file: PATH }, or agent, which it is without it.",
    ),
    optional("passphrase", Shape::Text(Format::Secret), "Opens an encrypted private key."),
    optional("user", Shape::Text(Format::Slug), "Login name; root without it."),
    optional("port", PORT, "Port; 22 without it."),
]);

const WORKERS: Shape = Shape::Object(&[
    optional("count", Shape::Number(1, 10_000), "How many; 2 without it."),
    required("size", SLUG, "Size slug, such as s-1vcpu-1gb."),
    optional("image", SLUG, "Base image slug, used at creation only; ubuntu-24-04-x64 without it."),
]);

const LOAD_BALANCER: Shape = Shape::Object(&[
    required("size", SLUG, "Size slug, such as s-1vcpu-1gb."),
    optional("image", SLUG, "Base image slug, used at creation only; ubuntu-24-04-x64 without it."),
    optional("listen", PORT, "Port for users; 80 without it."),
]);

const DOMAIN: Shape = Shape::Object(&[
    required(
        "zone",
        Shape::Text(Format::Zone),
        "The zone; its registrar must name DigitalOcean's name servers.",
    ),
    required(
        "records",
        Shape::List(
            &Shape::Object(&[
                required(
                    "name",
                    Shape::Text(Format::RecordName),
                    "Relative to the zone; @ is the zone itself.",
                ),
                optional("ttl", Shape::Number(30, 604_800), "Seconds; 300 without it."),
            ]),
            "record",
        ),
        "A records for the load balancer, or for the floating IP without one.",
    ),
]);

const APP: Shape = Shape::Object(&[
    required(
        "image",
        Shape::Text(Format::Image),
        "What to run; its tag is resolved to a digest when a plan is made.",
    ),
    optional("port", PORT, "The app's port; 8080 without it."),
    optional(
        "registry",
        Shape::Object(&[
            required("username", Shape::Text(Format::Secret), "User name."),
            required(
                "password",
                Shape::Text(Format::Secret),
                "Password or token; take it from ${env:NAME}.",
            ),
        ]),
        "The registry's login.",
    ),
    optional("env", Shape::Texts, "The container's environment."),
    optional(
        "health",
        Shape::Object(&[
            optional("path", Shape::Text(Format::UrlPath), "Path; / without it."),
            optional(
                "status",
                Shape::Number(100, 599),
                "The status that is a success; 200 without it.",
            ),
            optional("successes", Shape::Number(1, 100), "Successes in a row; 3 without it."),
            optional(
                "interval",
                Shape::Text(Format::Duration),
                "From one probe to the next; 2s without it.",
            ),
            optional(
                "timeout",
                Shape::Text(Format::Duration),
                "Deadline for all of it; 2m without it.",
            ),
        ]),
        "The gate before the switch, against the container itself.",
    ),
    optional(
        "verify",
        Shape::Object(&[
            optional("path", Shape::Text(Format::UrlPath), "Path; health's without it."),
            optional(
                "status",
                Shape::Number(100, 599),
                "The status that is a success; health's without it.",
            ),
            optional(
                "contains",
                Shape::Text(Format::Any),
                "A text the body must contain, such as the version.",
            ),
            optional(
                "timeout",
                Shape::Text(Format::Duration),
                "Deadline for all of it; 30s without it.",
            ),
        ]),
        "The look after the switch, along the way users come.",
    ),
    optional(
        "stop_timeout",
        Shape::Text(Format::Duration),
        "How long the app may take to stop; 30s without it.",
    ),
]);

const DEPLOY: Shape = Shape::Object(&[
    optional(
        "drain",
        Shape::Text(Format::Duration),
        "How long requests in flight on the old worker are waited for before the floating IP moves and cuts them; 30s without it.",
    ),
    optional(
        "verify",
        Shape::List(&COMMAND, "command"),
        "Commands run here between gate and switch, with the candidate's address in SEACHANGE_CANDIDATE_URL; non-zero aborts.",
    ),
]);
