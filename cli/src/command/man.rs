//! `wrun man`: manual pages, made of the same texts as help.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man as Page;

use super::{Context, Ended};
use crate::error::Error;
use crate::exit::{self, Exit};
use crate::syntax::Cli;
use crate::syntax::project::Man;

/// Prints the main page, or writes all of them into a folder.
pub(crate) fn man(context: &Context, args: &Man) -> Ended {
    let mut command = Cli::command();
    command.build();
    match &args.output {
        None => context.console.bytes(&page(&command, true)?)?,
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .map_err(|cause| Error::file("make the folder", folder, &cause))?;
            write(folder, "wrun", &command, true)?;
        }
    }
    Ok(Exit::Success)
}

fn write(folder: &Path, name: &str, command: &clap::Command, is_main: bool) -> Result<(), Error> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command, is_main)?)
        .map_err(|cause| Error::file("write", &path, &cause))?;
    let shown = command.get_subcommands().filter(|sub| sub.get_name() != "help");
    shown
        .map(|sub| (format!("{name}-{}", sub.get_name()), sub))
        .try_for_each(|(name, sub)| write(folder, &name, sub, false))
}

fn page(command: &clap::Command, is_main: bool) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let made = Page::new(command.clone())
        .render(&mut text)
        .and_then(|()| if is_main { exit_codes(&mut text) } else { Ok(()) });
    made.map_err(|cause| Error::new(Exit::Internal, format!("cannot write the page: {cause}")))?;
    Ok(text)
}

fn exit_codes(text: &mut impl io::Write) -> io::Result<()> {
    writeln!(text, ".SH \"EXIT STATUS\"")?;
    for row in &exit::ALL {
        writeln!(text, ".TP\n\\fB{}\\fR ({})\n{}", row.exit.code(), row.name, row.meaning)?;
    }
    writeln!(text, ".PP\n\\fBwrun run\\fR of one program ends with the program's own exit code.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_page_lists_the_exit_codes() {
        let text = String::from_utf8(page(&Cli::command(), true).unwrap()).unwrap();
        assert!(text.contains(".SH \"EXIT STATUS\"") && text.contains("time-limit"));
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Cli::command();
        command.build();
        write(folder.path(), "wrun", &command, true).unwrap();
        for name in ["wrun", "wrun-run", "wrun-server-init", "wrun-token-create"] {
            assert!(folder.path().join(format!("{name}.1")).exists(), "{name}");
        }
    }
}
