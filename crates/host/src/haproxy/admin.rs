//! HAProxy's admin socket, through SSH: one line of commands, its answers, and the end.

use seachange_core::haproxy::ADMIN_SOCKET;
use seachange_core::host::{HostError, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ssh::{Door, Ssh, failed};

/// No answer is anywhere near.
const MOST_ANSWER: u64 = 1024 * 1024;

/// A server as `show stat` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// It gets new requests.
    pub(super) is_in_use: bool,
    /// Requests in flight.
    pub(super) sessions: u64,
    /// Address and port.
    pub(super) address: String,
}

/// Says a line of commands, separated by `;`. What comes back are words for people, and the tables that were asked for.
pub(super) async fn say(ssh: &Ssh, target: &Target, line: &str) -> Result<String, HostError> {
    let broken = |detail: String| failed(target.address, "talking to HAProxy", detail);
    let opened = ssh.open(target, Door::Socket(ADMIN_SOCKET)).await;
    let channel =
        opened.map_err(|error| error.during(target.address, "opening HAProxy's admin socket"))?;
    let mut stream = channel.into_stream();
    let talk = async {
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        stream.flush().await?;
        let mut said = String::new();
        stream.take(MOST_ANSWER).read_to_string(&mut said).await?;
        Ok::<_, std::io::Error>(said)
    };
    let limit = ssh.config.operation_timeout;
    match tokio::time::timeout(limit, talk).await {
        Ok(said) => said.map_err(|error| broken(error.to_string())),
        Err(_) => Err(broken(format!("no answer within {limit:?}"))),
    }
}

/// The number of the process that answers; `None` if none does.
pub(super) async fn process(ssh: &Ssh, target: &Target) -> Option<String> {
    let said = say(ssh, target, "show info").await.ok()?;
    said.lines().find_map(|line| line.strip_prefix("Pid: ").map(|pid| pid.trim().to_owned()))
}

/// A server's row in what `show stat` has said.
pub(super) fn server(said: &str, backend: &str, server: &str) -> Option<Server> {
    let mut lines = said.lines().skip_while(|line| !line.starts_with("# pxname,"));
    let header: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (status, sessions, address) = (column("status")?, column("scur")?, column("addr")?);
    let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.starts_with(&[backend, server]))?;
    Some(Server {
        // Without a health check a server in use has the status `no check`.
        is_in_use: matches!(*row.get(status)?, "no check") || row.get(status)?.starts_with("UP"),
        sessions: row.get(sessions)?.parse().ok()?,
        address: (*row.get(address)?).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Server, server};

    /// As HAProxy 2.6.12 says it, with the columns after the ones that are read left out.
    const SAID: &str = "IP changed from '127.0.0.1' to '127.0.0.9' by 'stats socket command'\n\n\n\n\
        # pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,addr,\n\
        users,FRONTEND,,,7,9,8000,9,0,0,0,0,0,,,,,OPEN,,\n\
        live,floating_ip,0,0,3,9,,9,0,0,,0,,0,0,0,0,DRAIN,198.19.0.10:8080,\n\
        live,detour,0,0,4,9,,9,0,0,,0,,0,0,0,0,no check,127.0.0.9:8080,\n\
        live,BACKEND,0,0,7,9,800,9,0,0,0,0,,0,0,0,0,UP,,\n\n";

    #[test]
    fn servers_are_found_in_the_table_by_the_names_of_its_columns() {
        let find = |name| server(SAID, "live", name);
        let at = |address: &str, is_in_use, sessions| {
            Some(Server { is_in_use, sessions, address: address.to_owned() })
        };
        assert_eq!(find("floating_ip"), at("198.19.0.10:8080", false, 3));
        assert_eq!(find("detour"), at("127.0.0.9:8080", true, 4));
        assert_eq!(find("nobody"), None);
        assert_eq!(server("No such server.\n\n", "live", "detour"), None);
        let moved = SAID.replace("svname,qcur,qmax,scur", "svname,scur,qmax,qcur");
        assert_eq!(server(&moved, "live", "detour").map(|server| server.sessions), Some(0));
    }
}
