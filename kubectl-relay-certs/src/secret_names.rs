//! What the relay's Secrets are called, as flags.

use clap::Args;
use relay_shared::{Error, Result, args, relay};

use crate::role::Role;

/// What the Secrets are called, as Helm's values say it to the relay.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Secrets")]
pub(crate) struct SecretNames {
    /// Secret with the root certificate, in every cluster
    #[arg(long, value_name = "NAME", default_value = relay::ROOT_SECRET,
          value_parser = args::subdomain, hide_short_help = true)]
    root_secret: String,

    /// Secret with the relay server's certificate
    #[arg(long, value_name = "NAME", default_value = relay::SERVER_SECRET,
          value_parser = args::subdomain, hide_short_help = true)]
    server_secret: String,

    /// Secret with the certificate that the relay server issues by
    #[arg(long, value_name = "NAME", default_value = relay::SIGNING_SECRET,
          value_parser = args::subdomain, hide_short_help = true)]
    signing_secret: String,
}

impl SecretNames {
    /// What the Secret of a role is called.
    pub(crate) fn of(&self, role: Role) -> &str {
        match role {
            Role::Root => &self.root_secret,
            Role::Server => &self.server_secret,
            Role::Signing => &self.signing_secret,
        }
    }

    /// Makes sure that no two Secrets are one.
    ///
    /// # Errors
    /// If two have the same name.
    pub(crate) fn check(&self) -> Result<()> {
        let names = [&self.root_secret, &self.server_secret, &self.signing_secret].map(String::as_str);
        let mut seen = vec![relay::IDENTITY_TOKEN_SECRET];
        for name in names {
            if seen.contains(&name) {
                return Err(Error::usage(format!(
                    "two secrets cannot both be called {name:?}"
                )));
            }
            seen.push(name);
        }
        Ok(())
    }
}

impl Default for SecretNames {
    fn default() -> Self {
        let [root_secret, server_secret, signing_secret] =
            [relay::ROOT_SECRET, relay::SERVER_SECRET, relay::SIGNING_SECRET].map(str::to_owned);
        Self {
            root_secret,
            server_secret,
            signing_secret,
        }
    }
}
