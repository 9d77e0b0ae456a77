//! The packager's archives, judged by krew's own programs. A command of its own, as
//! packing takes both cores for many minutes: `cargo test -p relay-tests --test packaging`.

mod contents;
mod origins;
mod readme;

use std::{fs, path::Path};

use relay_tests::{ControlPlane, Shell, Transcript, binaries::Tool, fixtures, krew, plugin::PLUGINS};
use tempfile::TempDir;

const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

fn files(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).expect("is a directory");
    let mut names: Vec<_> = files
        .map(|file| {
            file.expect("is readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The packed directory again, with manifests that lead to a server of its own.
fn served() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for name in files(krew::packed()) {
        fs::copy(krew::packed().join(&name), directory.path().join(&name)).expect("copies");
    }
    let url = krew::serve(directory.path().to_owned());
    let out = directory.path().to_string_lossy().into_owned();
    krew::packager(&["manifests", "--out", &out, "--base-url", &url]);
    directory
}

/// Puts a directory's manifests into the shell's index, a git repository, and returns
/// its URL.
fn publish(shell: &Shell, directory: &Path) -> String {
    let plugins = shell.home().join("index/plugins");
    fs::create_dir_all(&plugins).expect("is ours");
    for plugin in PLUGINS {
        let name = format!("{plugin}.yaml");
        fs::copy(directory.join(&name), plugins.join(&name)).expect("copies");
    }
    let identity = [
        "-C",
        "index",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.com",
    ];
    for words in [
        &["init", "--quiet"][..],
        &["add", "--all"],
        &["commit", "--quiet", "--message=release"],
    ] {
        shell.run("git", &[&identity[..], words].concat()).success();
    }
    format!("file://{}/index", shell.home().display())
}

/// The three jobs, by whatever plugins the shell finds.
fn do_the_whole_job(shell: &Shell, namespace: &str) {
    shell.apply("mgmt", fixtures::relay_service(namespace, "ClusterIP"));
    let apply = ["relay-ingress", "apply", "-n", namespace, "--via", "loadbalancer"];
    shell.kubectl(&apply).success().prints("configured");
    let status = fixtures::load_balancer(&["203.0.113.10"]);
    shell.patch_status("mgmt", "service/enterprise-networking", namespace, &status);
    let address = shell.kubectl(&["relay-address", "-n", namespace]);
    assert_eq!(address.success().stdout, "203.0.113.10:9900\n");
    let init = ["relay-certs", "init", "-n", namespace, "--remote-context", "east"];
    shell.kubectl(&init).success();
    shell
        .kubectl(&[
            "--context",
            "east",
            "-n",
            namespace,
            "get",
            "secret",
            "relay-root-tls-secret",
        ])
        .success();
}

#[test]
fn krew_installs_all_three_from_manifest_and_archive_and_they_work() {
    let shell = krew::shell(ControlPlane::shared());
    for plugin in PLUGINS {
        shell
            .kubectl(&[plugin, "version"])
            .exits(1)
            .complains("unknown command");
        let manifest = krew::packed().join(format!("{plugin}.yaml"));
        let install = [
            "krew",
            "install",
            &format!("--manifest={}", manifest.display()),
            &format!("--archive={}", krew::archive(krew::packed(), plugin).display()),
        ];
        shell.kubectl(&install).success();
        shell
            .kubectl(&[plugin, "version"])
            .success()
            .prints(&format!("Version: {VERSION}\n"));
    }
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt", "east"]);
    do_the_whole_job(&shell, &namespace);

    // The step that completion takes, as the help says.
    let name = "kubectl_complete-relay_certs";
    shell.kubectl(&["relay-certs", "in"]).exits(2);
    let installed = format!(".krew/store/relay-certs/{VERSION}/completions/{name}");
    shell.run("cp", &[&installed, ".krew/bin"]).success();
    shell
        .kubectl(&["__complete", "relay-certs", "in"])
        .success()
        .prints("init");
}

#[test]
fn krews_own_check_passes() {
    let directory = served();
    let shell = krew::shell(ControlPlane::shared());
    let validate = |manifest: &Path, flags: &[&str]| -> Transcript {
        let program = Tool::ValidateKrewManifest
            .path()
            .expect("is built")
            .to_string_lossy();
        let manifest = manifest.to_string_lossy();
        shell.run(&program, &[&["-manifest", &manifest], flags].concat())
    };
    for plugin in PLUGINS {
        let manifest = directory.path().join(format!("{plugin}.yaml"));
        validate(&manifest, &[])
            .success()
            .complains("all 1 spec.platforms installed fine");
    }

    // Whether the selectors of a whole release fit: krew looks at no archive here.
    let ours = format!("_{VERSION}_linux_amd64.tar.gz");
    for name in files(directory.path())
        .iter()
        .filter(|name| name.ends_with(&ours))
    {
        let others = [
            "linux_arm64.tar.gz",
            "darwin_amd64.tar.gz",
            "darwin_arm64.tar.gz",
            "windows_amd64.zip",
            "windows_arm64.zip",
        ];
        for other in others {
            let other = name.replace("linux_amd64.tar.gz", other);
            fs::copy(directory.path().join(name), directory.path().join(other)).expect("copies");
        }
    }
    let out = directory.path().to_string_lossy();
    krew::packager(&["manifests", "--out", &out, "--base-url", "https://example.com"]);
    for plugin in PLUGINS {
        let manifest = directory.path().join(format!("{plugin}.yaml"));
        validate(&manifest, &["-skip-install"]).success();
        let content = fs::read_to_string(&manifest).expect("is there");
        assert_eq!(content.matches("sha256: ").count(), 6, "{content}");
        let tampered = content.replacen("arch: arm64", "arch: amd64", 1);
        fs::write(&manifest, tampered).expect("is ours");
        validate(&manifest, &["-skip-install"])
            .exits(255)
            .complains("overlapping");
    }
}

#[test]
fn a_custom_index_installs_upgrades_and_uninstalls_without_a_trace() {
    let directory = served();
    let shell = krew::shell(ControlPlane::shared());
    let index = publish(&shell, directory.path());
    shell
        .kubectl(&["krew", "index", "add", "relay", &index])
        .success();
    for plugin in PLUGINS {
        shell
            .kubectl(&["krew", "install", &format!("relay/{plugin}")])
            .success();
    }
    let listed = |version: &str| {
        let list = shell.kubectl(&["krew", "list"]);
        let names: Vec<_> = list.success().stdout.split_whitespace().collect();
        assert_eq!(names, PLUGINS.map(|plugin| format!("relay/{plugin}")));
        for plugin in PLUGINS {
            let receipt = shell.home().join(format!(".krew/receipts/{plugin}.yaml"));
            let receipt = fs::read_to_string(receipt).expect("is installed");
            assert!(
                receipt.contains(&format!("\n  version: {version}\n")),
                "{receipt}"
            );
        }
    };
    listed(VERSION);
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt", "east"]);
    do_the_whole_job(&shell, &namespace);

    // The next version, of the same programs.
    let next = "v99.0.0";
    for plugin in PLUGINS {
        let archive = krew::archive(directory.path(), plugin);
        let name = archive
            .file_name()
            .expect("has one")
            .to_string_lossy()
            .replace(VERSION, next);
        fs::copy(&archive, archive.with_file_name(name)).expect("copies");
    }
    for plugin in PLUGINS {
        let manifest = directory.path().join(format!("{plugin}.yaml"));
        let content = fs::read_to_string(&manifest).expect("is there");
        fs::write(&manifest, content.replace(VERSION, next)).expect("is ours");
    }
    publish(&shell, directory.path());
    shell.kubectl(&["krew", "upgrade"]).success();
    listed(next);
    shell.kubectl(&["relay-address", "version"]).success();

    let uninstall = [&["krew", "uninstall"], &PLUGINS[..]].concat();
    shell.kubectl(&uninstall).success();
    shell.kubectl(&["krew", "index", "remove", "relay"]).success();
    let left = shell.run("find", &[".krew", "-name", "*relay*"]);
    assert_eq!(left.success().stdout, "");
    shell
        .kubectl(&["relay-address"])
        .exits(1)
        .complains("unknown command");
}
