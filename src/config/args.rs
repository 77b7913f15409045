//! The options of `muster serve` on the command line.

use figment::value::Value;
use std::path::PathBuf;

/// Options of `muster serve`. Each can also be set by the environment variable in brackets and in a configuration file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on, `ADDRESS:PORT`; may be given several times (`MUSTER_LISTEN`; default `127.0.0.1:5001` and `[::1]:5001`)
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Port of the default addresses (`MUSTER_PORT`; default: 5001)
    #[arg(long)]
    pub port: Option<u16>,
    /// The server's name (`MUSTER_NAME`; default: the host name)
    #[arg(long)]
    pub name: Option<String>,
    /// Directory for what the server keeps (`MUSTER_DATA_DIR`; default: muster/servers/NAME under the user's data directory)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// `postgres://..` or `sqlite:FILE` (`MUSTER_DATABASE_URL`; default: muster.db in the data directory)
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Configuration file; `config/server.toml` in the source shows every option
    #[arg(long, value_name = "FILE", env = "MUSTER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address under which others reach the server, when a proxy is in front (`MUSTER_PUBLIC_URL`)
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Address of a server to join; several are separated by commas (`MUSTER_NETWORK_CONNECT`)
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub connect: Vec<String>,
    /// Log requests and answers with their bodies, secrets replaced (`MUSTER_LOG_HTTP`)
    #[arg(long)]
    pub log_http: bool,
    /// How log lines look: human or json (`MUSTER_LOG_FORMAT`)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Ask nobody for a token: whoever reaches the port can run commands on every worker (`MUSTER_INSECURE`)
    #[arg(long)]
    pub insecure: bool,
}

impl ServeArgs {
    /// What was given: option, key, value.
    pub(super) fn layer(&self) -> Vec<(&'static str, &'static str, Value)> {
        let texts = [
            ("--name", "name", &self.name),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--database-url", "database.url", &self.database_url),
            ("--public-url", "public_url", &self.public_url),
            ("--log-format", "log.format", &self.log_format),
        ];
        let mut layer: Vec<_> =
            texts.into_iter().filter_map(|(option, key, text)| Some((option, key, Value::from(text.clone()?)))).collect();
        if !self.listen.is_empty() {
            layer.push(("--listen", "listen", Value::from(self.listen.clone())));
        }
        if !self.connect.is_empty() {
            layer.push(("--connect", "network.connect", Value::from(self.connect.clone())));
        }
        if let Some(port) = self.port {
            layer.push(("--port", "port", Value::from(port)));
        }
        let switches = [("--log-http", "log.http", self.log_http), ("--insecure", "insecure", self.insecure)];
        layer.extend(switches.into_iter().filter(|(_, _, on)| *on).map(|(option, key, on)| (option, key, Value::from(on))));
        layer
    }
}
