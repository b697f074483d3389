//! `completions`, `man`: made from the one definition of the command line.

use clap::Args;
use clap_complete::Shell;

use super::definition;
use crate::link::{Outcome, Trouble, reason};
use crate::out::Out;

/// `completions`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
    /// For the program under this name.
    #[arg(long, default_value = "pfload")]
    name: String,
}

/// `man`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Man {
    /// Write one page a command into this folder.
    #[arg(value_name = "FOLDER")]
    folder: Option<std::path::PathBuf>,
}

impl Completions {
    pub(super) fn run(&self, out: &mut Out) -> Outcome {
        let mut bytes = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), self.name.clone(), &mut bytes);
        out.put(&String::from_utf8_lossy(&bytes));
        Ok(())
    }
}

/// What clap does not know: exit codes, the order of actions.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
0
All was done.
.TP
1
Something was wrong: the command line, the rules, the filter. Nothing is half done.
.TP
2
-T test: not all addresses are in the table.
.SH FILES
.TP
/run/pf/control
Socket of pfd, unless -p names another.
.SH NOTES
Actions of one command line are done in this order: -d, -s, -z, -F, -k, -K, -T or -f, -e, -x, -S, -L.
Under the name pfctl the program behaves as OpenBSD's pfctl(8) and knows no words.
Words of -F, -s, -T, -o and -x may be shortened to any beginning that no other shares.
.SH "SEE ALSO"
pf.conf(5), pfd(8), pfc(1)
"#;

impl Man {
    pub(super) fn run(&self, out: &mut Out) -> Outcome {
        let write = |page: &clap_mangen::Man, bytes: &mut Vec<u8>| {
            page.render(bytes).map_err(|why| Trouble::Here(reason(&why)))
        };
        let Some(folder) = &self.folder else {
            let mut bytes = Vec::new();
            write(&page(definition()), &mut bytes)?;
            out.put(&String::from_utf8_lossy(&bytes));
            out.put(MORE);
            return Ok(());
        };
        let here = |why: std::io::Error| Trouble::Here(format!("{}: {}", folder.display(), reason(&why)));
        std::fs::create_dir_all(folder).map_err(here)?;
        let root = definition();
        let verbs = root.get_subcommands().cloned().map(|verb| {
            let name = format!("pfload-{}", verb.get_name());
            (name.clone(), verb.display_name(name.clone()).bin_name(name.replace('-', " ")), "")
        });
        let mut pages = vec![("pfload".to_owned(), root.clone(), MORE)];
        pages.extend(verbs);
        for (name, command, more) in pages {
            let mut bytes = Vec::new();
            write(&page(command), &mut bytes)?;
            bytes.extend_from_slice(more.as_bytes());
            std::fs::write(folder.join(format!("{name}.8")), bytes).map_err(here)?;
        }
        Ok(())
    }
}

fn page(command: clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command).section("8").manual("Plan B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_for_all_shells_know_letters_and_words() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut definition(), "pfload", &mut bytes);
            let text = String::from_utf8(bytes).unwrap();
            // PowerShell's completions hold no values.
            let values = if shell == Shell::PowerShell { &[][..] } else { &["Interfaces", "expire"] };
            for word in ["confirm", "kill-changed"].iter().chain(values) {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn the_page_tells_of_exit_codes() {
        let mut bytes = Vec::new();
        page(definition()).render(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap() + MORE;
        for word in ["EXIT STATUS", "\\-T", "confirm"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
