//! What people see who sit at a terminal: lines that break at words, and nothing of a
//! spinner that is over.

use relay_tests::{ControlPlane, Shell, Transcript, fixtures};

/// Runs a command in a terminal of so many columns; where a text is given, Ctrl-C is
/// pressed a little after that has been shown.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios, time
columns, awaited, command = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    os.execvp(command[0], command)
shown = b""
while True:
    try:
        more = os.read(terminal, 65536)
    except OSError:
        more = b""
    if not more:
        break
    shown += more
    if awaited and awaited in shown:
        awaited = b""
        time.sleep(0.3)
        os.write(terminal, b"\x03")
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn at_terminal(shell: &Shell, columns: usize, awaited: &str, line: &[&str]) -> Transcript {
    let columns = columns.to_string();
    let terminal = ["-c", TERMINAL, &columns, awaited, "kubectl"];
    shell
        .env("TERM", "xterm")
        .run("python3", &[&terminal[..], line].concat())
}

/// What a terminal of so many columns shows in the end of all that was written to it: text,
/// line feeds, carriage returns, and the sequences that move the cursor or wipe a line.
#[track_caller]
fn screen(written: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut written = written.chars();
    while let Some(c) = written.next() {
        match c {
            '\n' => row += 1,
            '\r' => column = 0,
            '\u{1b}' => {
                assert_eq!(written.next(), Some('['), "an escape that is none");
                let mut number = String::new();
                let end = loop {
                    match written.next() {
                        Some(c) if c.is_ascii_digit() || c == ';' => number.push(c),
                        end => break end,
                    }
                };
                let count = number.parse().unwrap_or(1);
                match end {
                    Some('A') => row -= count.min(row),
                    Some('B') => row += count,
                    Some('C') => column += count,
                    Some('D') => column -= count.min(column),
                    Some('K') => lines[row].clear(),
                    Some('m') => {}
                    end => panic!("an unknown sequence: {number}{end:?}"),
                }
            }
            c => {
                // A line that is full goes on in the next one, and not before it has to.
                if column >= columns {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let lines = lines
        .iter()
        .map(|line| line.iter().collect::<String>().trim_end().to_owned());
    lines.collect()
}

#[test]
fn lines_break_at_words() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "ClusterIP"));
    for line in [
        &["relay-address", "-n", &namespace][..],
        &["relay-ingress", "lint", "-n", &namespace],
        &["relay-ingress", "status", "-n", &namespace, "--context", "mgnt"],
        &["relay-certs", "status", "-n", &namespace],
    ] {
        let plain = shell.kubectl(line);
        let at_terminal = at_terminal(&shell, 60, "", line);
        let code = plain.code.expect("it ends");
        let shown = screen(&at_terminal.exits(code).stdout, usize::MAX);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let plain = format!("{}{}", plain.stdout, plain.stderr);
        assert_eq!(words(&shown.join("\n")), words(&plain), "{at_terminal}");
        for shown in &shown {
            assert!(
                shown.chars().count() <= 60 || shown.contains("kubectl "),
                "{at_terminal}"
            );
        }
        assert!(plain.lines().any(|line| line.chars().count() > 60), "{plain}");
    }
}

#[test]
fn nothing_is_left_of_a_spinner() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "LoadBalancer"));
    for columns in [50, 80, 200] {
        let wait = ["relay-address", "-n", &namespace, "--via=service", "--wait"];
        let interrupted = at_terminal(&shell, columns, "waiting: its type", &wait);
        interrupted.exits(130);
        let hint = "  hint: run the same command again to go on";
        assert_eq!(
            screen(&interrupted.stdout, columns).join("\n").trim_end(),
            format!("error: interrupted\n{hint}")
        );
    }
}
