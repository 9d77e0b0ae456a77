//! The flow of `csr`: requests for an outside CA, each to a key of the directory.

use std::path::Path;

use relay_shared::{
    Error, ExitCode, Result, args::ClusterArgs, relay::RelayHost, render, runtime, terminal,
    terminal::Progress,
};

use crate::{
    cli::CsrArgs,
    directory::{self, Request},
    issue,
    key::PrivateKey,
    role::Child,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &CsrArgs) -> Result<ExitCode> {
    let host = RelayHost::of(args.service.service.as_deref(), &flags.namespace);
    let choices = args.request.of(host)?;
    let found = directory::read(&args.pki_dir)?;
    let keys = [found.server.key, found.signing.key];
    for (role, key) in Child::BOTH.map(Child::role).into_iter().zip(&keys) {
        let defect = key
            .as_ref()
            .and_then(|key| choices.contradiction_of_key(role, key.kind()));
        if let Some(what) = defect {
            let path = directory::key_path(&args.pki_dir, role);
            return Err(Error::new(format!("{} {what}", path.display()))
                .hint("leave that choice out to keep the key, or choose another --pki-dir"));
        }
    }

    let requests = {
        let missing = keys.iter().any(Option::is_none);
        let _spinner = missing.then(|| Progress::spinner("making keys"));
        let make = move || -> Result<Vec<Request>, String> {
            let request = |(child, key): (Child, Option<PrivateKey>)| {
                let role = child.role();
                let key = match key {
                    Some(key) => key,
                    None => PrivateKey::generate(choices.algorithm(role))?,
                };
                let pem = issue::request(child, &key, &choices.names(role))?;
                Ok(Request { role, key, pem })
            };
            Child::BOTH.into_iter().zip(keys).map(request).collect()
        };
        let made = runtime::compute(make).await;
        made.map_err(|e| Error::new(format!("cannot make a request: {e}")))?
    };
    for request in &requests {
        check(&args.pki_dir, request)?;
    }
    let written = directory::write_requests(&args.pki_dir, &requests)?;
    let rows = requests.iter().flat_map(|request| {
        let key = directory::key_path(&args.pki_dir, request.role);
        let request = directory::request_path(&args.pki_dir, request.role);
        [key, request].map(|path| {
            let became = directory::became(&written, &path).to_owned();
            [path.display().to_string(), became]
        })
    });
    terminal::data(&render::columns(&rows.collect::<Vec<_>>()))?;
    terminal::story(&next(&args.pki_dir));
    Ok(ExitCode::Done)
}

/// A request that is there already has to be the same one.
fn check(directory: &Path, request: &Request) -> Result<()> {
    let path = directory::request_path(directory, request.role);
    let Some(there) = directory::read_request(&path)? else {
        return Ok(());
    };
    match issue::ask_the_same(&there, request.pem.as_bytes()) {
        true => Ok(()),
        false => Err(Error::new(format!("{} asks for something else", path.display()))
            .hint("move it away to have a new one made, or choose another --pki-dir")),
    }
}

fn next(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "\nHave your CA answer both requests; what it makes of relay-tls-signing.csr is a\n\
         certificate authority (CA:TRUE). Then place the answers, each followed by the\n\
         intermediates above it:\n  \
         kubectl relay-certs init --ca-cert ROOT.crt \\\n    \
         --server-cert SERVER.crt --server-key {directory}/relay-server-tls.key \\\n    \
         --signing-cert SIGNING.crt --signing-key {directory}/relay-tls-signing.key"
    )
}
