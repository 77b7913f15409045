//! Servers on machines of their own, as far as the kernel can pretend: what is lost there is lost without a word.

use super::net::{LIMIT, all_up, happen, named, same_everywhere, until_state};
use crate::support::{Cx, Server, cases, free_port, is_alive};
use anyhow::{Context as _, Result, ensure};
use muster_protocol::peer::PeerState;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

cases! {
    [Namespaces] =>
        servers_elsewhere_need_a_key_and_join_with_one,
        a_partition_and_a_one_way_loss_heal within 240,
        a_slow_link_delays_and_loses_nothing within 240;
}

const KEY: &str = "MUSTER_NETWORK_KEY";

/// Machines at 10.99.X.1, .2, .., each connected to a switch on which the cases are .254.
struct Lan {
    /// The process id of this run, and a letter: who finds something of a run that is gone can tell.
    name: String,
    net: u16,
    machines: u16,
}

/// How many there were in this run.
static LANS: AtomicU8 = AtomicU8::new(0);
/// How the names of machines, of switches and of cables begin.
const SPACE: &str = "muster-it-";
const SWITCH: &str = "mub";
const CABLE: &str = "muv";

fn ip(args: &str) -> Result<String> {
    let output = Command::new("ip").args(args.split(' ')).output()?;
    ensure!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a name is one of a run that was killed.
fn is_left_over(name: &str, beginning: &str) -> bool {
    let id = name.strip_prefix(beginning).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    id.and_then(|id| id.parse().ok()).is_some_and(|id| !is_alive(id))
}

/// Removes what a run left that was killed.
fn sweep() -> Result<()> {
    for space in ip("netns list")?.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| is_left_over(name, SPACE)) {
        let _ = ip(&format!("netns del {space}"));
    }
    for (kind, beginning) in [("bridge", SWITCH), ("veth", CABLE)] {
        let links = ip(&format!("-o link show type {kind}"))?;
        let names = links.lines().filter_map(|line| line.split_whitespace().nth(1)).filter_map(|name| name.split(['@', ':']).next());
        for link in names.filter(|name| is_left_over(name, beginning)) {
            let _ = ip(&format!("link del {link}"));
        }
    }
    Ok(())
}

/// A number of a net that nobody here has.
fn free_net() -> Result<u16> {
    for _ in 0..100 {
        let net = free_port()? % 250;
        if ip(&format!("-o addr show to 10.99.{net}.0/24"))?.is_empty() {
            return Ok(net);
        }
    }
    anyhow::bail!("all nets are taken")
}

impl Lan {
    fn new(machines: u16) -> Result<Self> {
        sweep()?;
        let letter = char::from(b'a' + LANS.fetch_add(1, Ordering::Relaxed) % 26);
        let lan = Self { name: format!("{}{letter}", std::process::id()), net: free_net()?, machines };
        let switch = lan.switch();
        ip(&format!("link add {switch} type bridge"))?;
        ip(&format!("addr add {}/24 dev {switch}", lan.address(254)))?;
        ip(&format!("link set {switch} up"))?;
        for n in 1..=machines {
            let (space, cable) = (lan.space(n), lan.cable(n));
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {cable} type veth peer name eth0 netns {space}"))?;
            ip(&format!("link set {cable} master {switch} up"))?;
            ip(&format!("-n {space} link set lo up"))?;
            ip(&format!("-n {space} addr add {}/24 dev eth0", lan.address(n)))?;
            ip(&format!("-n {space} link set eth0 up"))?;
        }
        Ok(lan)
    }

    fn switch(&self) -> String {
        format!("{SWITCH}{}", self.name)
    }

    fn cable(&self, n: u16) -> String {
        format!("{CABLE}{}{n}", self.name)
    }

    fn space(&self, n: u16) -> String {
        format!("{SPACE}{}{n}", self.name)
    }

    fn address(&self, n: u16) -> String {
        format!("10.99.{}.{n}", self.net)
    }

    /// A server on a machine.
    fn server(&self, cx: &Cx, n: u16, name: &str, to: Option<&Server>) -> Result<Server> {
        let address = self.address(n);
        let server = named(cx, name)?.within(["ip", "netns", "exec", &self.space(n)], &address)?;
        let listen = format!("{address}:{}", server.port());
        let server = server.with_args(["--insecure", "--listen", &listen]);
        Ok(match to {
            Some(to) => server.with_args(["--connect".to_owned(), to.url()]),
            None => server,
        })
    }

    /// Takes the cable of a machine out, or puts it in again.
    fn plug(&self, n: u16, is_in: bool) -> Result<()> {
        ip(&format!("link set {} {}", self.cable(n), if is_in { "up" } else { "down" })).map(drop)
    }

    /// Loses all that `from` sends to `to`, or no longer does.
    fn lose(&self, from: u16, to: u16, lost: bool) -> Result<()> {
        let (space, address) = (self.space(from), self.address(to));
        if lost {
            // Nobody has that hardware address.
            return ip(&format!("-n {space} neigh replace {address} lladdr 02:00:00:00:00:99 nud permanent dev eth0")).map(drop);
        }
        ip(&format!("-n {space} neigh del {address} dev eth0")).map(drop)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for n in 1..=self.machines {
            let _ = ip(&format!("link del {}", self.cable(n)));
            let _ = ip(&format!("netns del {}", self.space(n)));
        }
        let _ = ip(&format!("link del {}", self.switch()));
    }
}

async fn servers_elsewhere_need_a_key_and_join_with_one(cx: &Cx) -> Result<()> {
    let lan = Lan::new(2)?;
    let mut a = lan.server(cx, 1, "A", None)?.launch().await?;
    let b = lan.server(cx, 2, "B", Some(&a))?.with_env(KEY, "a key that only B has").launch().await?;
    let shown = until_state(&a, "B", PeerState::Refused, LIMIT).await?;
    ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("MUSTER_NETWORK_KEY")), "{shown:?}");
    until_state(&b, &a.url(), PeerState::Refused, LIMIT).await?;
    a.stop().await?;
    let mut a = a.with_env(KEY, "a key that only B has");
    a.restart().await?;
    all_up(&[&a, &b]).await?;
    ensure!(super::net::peer(&a, "B").await?.context("B")?.url == b.url(), "B is not where it is");
    Ok(())
}

async fn three(cx: &Cx, lan: &Lan) -> Result<[Server; 3]> {
    let with_key = |server: Server| server.with_env(KEY, "the key of these three");
    let a = with_key(lan.server(cx, 1, "A", None)?).launch().await?;
    let b = with_key(lan.server(cx, 2, "B", Some(&a))?).launch().await?;
    let c = with_key(lan.server(cx, 3, "C", Some(&b))?).launch().await?;
    all_up(&[&a, &b, &c]).await?;
    Ok([a, b, c])
}

async fn a_partition_and_a_one_way_loss_heal(cx: &Cx) -> Result<()> {
    let lan = Lan::new(3)?;
    let [a, b, c] = three(cx, &lan).await?;
    lan.plug(3, false)?;
    until_state(&a, "C", PeerState::Down, LIMIT).await?;
    until_state(&b, "C", PeerState::Down, LIMIT).await?;
    happen(&a, 50).await?;
    same_everywhere(&[&a, &b]).await?;
    lan.plug(3, true)?;
    all_up(&[&a, &b, &c]).await?;
    same_everywhere(&[&a, &b, &c]).await?;
    // Nothing of what A sends reaches B; what happens reaches both by C.
    lan.lose(1, 2, true)?;
    until_state(&b, "A", PeerState::Down, LIMIT).await?;
    happen(&a, 50).await?;
    happen(&b, 50).await?;
    same_everywhere(&[&a, &b, &c]).await?;
    lan.lose(1, 2, false)?;
    all_up(&[&a, &b, &c]).await?;
    happen(&b, 10).await?;
    same_everywhere(&[&a, &b, &c]).await.map(drop)
}

async fn a_slow_link_delays_and_loses_nothing(cx: &Cx) -> Result<()> {
    let lan = Lan::new(3)?;
    let [a, b, c] = three(cx, &lan).await?;
    let slow = ["qdisc", "add", "dev", &lan.cable(3), "root", "tbf", "rate", "1mbit", "burst", "16kbit", "latency", "300ms"];
    let slowed = Command::new("tc").args(slow).output();
    ensure!(slowed.as_ref().is_ok_and(|output| output.status.success()), "the link is as fast as before: {slowed:?}");
    happen(&a, 500).await?;
    happen(&c, 100).await?;
    same_everywhere(&[&a, &b, &c]).await?;
    all_up(&[&a, &b, &c]).await
}
