//! The commands that every plugin has besides its own: completion, version and
//! its manual page.

use clap::{CommandFactory, Subcommand};
use k8s_openapi::apimachinery::pkg::version::Info;

use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    completion::{self, Shell},
    error::{Error, ExitCode, Result},
    escape, manual, terminal,
};

/// What a plugin tells about itself.
#[derive(Debug, Subcommand)]
pub enum About {
    /// Print the completion script of a shell, or of kubectl
    #[command(after_help = "\
To complete `kubectl NAME`, kubectl wants a program beside the plugin. Where NAME
is relay-certs, and ~/.krew/bin is on your PATH:

  kubectl relay-certs completion kubectl \\
    >~/.krew/bin/kubectl_complete-relay_certs
  chmod +x ~/.krew/bin/kubectl_complete-relay_certs

It is a script of the shell, so kubectl cannot run it on Windows.")]
    Completion {
        /// Whose
        shell: Shell,
    },

    /// Print version and commit
    Version {
        /// Print the version of the management cluster's API server, too
        #[arg(long)]
        with_server: bool,
    },

    /// Print the manual page, in roff
    #[command(hide = true)]
    Man,
}

impl About {
    /// Prints it. `C` is the plugin's command line.
    pub async fn run<C: CommandFactory>(&self, flags: &ClusterArgs) -> Result<ExitCode> {
        let text = match self {
            Self::Completion { shell } => completion::script(C::command(), *shell),
            Self::Version { with_server } => version(flags, *with_server).await?,
            Self::Man => manual(C::command())?,
        };
        terminal::data(&text)?;
        Ok(ExitCode::Done)
    }
}

async fn version(flags: &ClusterArgs, with_server: bool) -> Result<String> {
    let mut text = format!(
        "Version: v{}\nCommit: {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("RELAY_COMMIT")
    );
    if with_server {
        let cluster = Cluster::management(&flags.load()?, flags)?;
        let Info { git_version, .. } = cluster.version().await?;
        text.push_str(&format!("Server Version: {}\n", escape::printable(&git_version)));
    }
    Ok(text)
}

fn manual(command: clap::Command) -> Result<String> {
    let page = manual::page(command).map_err(|e| Error::new(format!("cannot write the manual page: {e}")))?;
    String::from_utf8(page).map_err(|_| Error::new("the manual page is not text"))
}
