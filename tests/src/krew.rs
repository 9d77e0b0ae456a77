//! The plugins as krew's users get them: packed by the packager, served on
//! loopback, and a krew of one's own to install them with.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

use crate::{
    ControlPlane, Shell,
    binaries::{Tool, target_directory, workspace},
};

/// Runs the packager.
///
/// # Panics
///
/// If it fails: its own words are on standard error.
#[track_caller]
pub fn packager(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    let output = cargo
        .current_dir(workspace())
        .args(["run", "--quiet", "--locked", "--package", "relay-krew", "--"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|err| panic!("failed to run cargo: {err}"));
    assert!(output.status.success(), "relay-krew {}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The directory that the packager filled for this machine, once for all tests, which
/// takes both cores for minutes; or `RELAY_DIST_DIR`, where that is set, for archives of
/// this commit.
///
/// # Panics
///
/// If it could not, in each test that asks.
#[track_caller]
pub fn packed() -> &'static Path {
    static PACKED: OnceLock<PathBuf> = OnceLock::new();
    PACKED.get_or_init(|| {
        if let Some(directory) = env::var_os("RELAY_DIST_DIR") {
            return workspace().join(directory);
        }
        let directory = target_directory().join("krew/dist");
        packager(&["tools"]);
        packager(&["package", "--out", &directory.to_string_lossy()]);
        directory
    })
}

/// The archive of a plugin in a directory.
///
/// # Panics
///
/// If there is not exactly one.
#[track_caller]
pub fn archive(directory: &Path, plugin: &str) -> PathBuf {
    let start = format!("kubectl-{}_v", plugin.replace('-', "_"));
    let files = fs::read_dir(directory).unwrap_or_else(|err| panic!("no directory of archives: {err}"));
    let mut archives = files
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&start) && name.ends_with(".tar.gz")
        });
    match (archives.next(), archives.next()) {
        (Some(archive), None) => archive,
        found => panic!("one archive of {plugin}, found {found:?}"),
    }
}

/// A shell with kubectl and krew, and none of the plugins until krew installs them.
#[track_caller]
pub fn shell(control_plane: &ControlPlane) -> Shell {
    let mut shell = Shell::on(control_plane);
    let tools = [Tool::Kubectl, Tool::Krew].map(|tool| tool.path().unwrap_or_else(|err| panic!("{err}")));
    let root = shell.home().join(".krew");
    let mut path = vec![root.join("bin")];
    path.extend(tools.iter().filter_map(|tool| tool.parent()).map(Path::to_owned));
    path.extend(["/usr/bin".into(), "/bin".into()]);
    let path = env::join_paths(path).unwrap_or_else(|err| panic!("{err}"));
    shell.set_env("PATH", path);
    shell.set_env("KREW_ROOT", root);
    // It would ask elsewhere whether there is a newer krew.
    shell.set_env("KREW_NO_UPGRADE_CHECK", "1");
    shell
}

/// Serves the files of a directory over HTTP, for as long as the process lives, and
/// returns the URL they are under.
///
/// # Panics
///
/// If loopback has no port left.
#[track_caller]
pub fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let directory = directory.clone();
            thread::spawn(move || answer(stream, &directory));
        }
    });
    format!("http://{address}")
}

/// Answers one request; the connection ends with it.
fn answer(mut stream: TcpStream, directory: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    lines.map_while(Result::ok).find(String::is_empty);
    let name = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('/');
    let (status, content) = match fs::read(directory.join(name)) {
        Ok(content) => ("200 OK", content),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = content.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&content)
}
