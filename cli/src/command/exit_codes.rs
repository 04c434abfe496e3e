//! `wrun exit-codes`.

use super::{Context, Ended};
use crate::exit::{self, Exit};
use crate::report::json;

/// Lists them.
pub(crate) fn exit_codes(context: &Context) -> Ended {
    if context.console.wants_json() {
        let codes = exit::ALL.iter().map(|row| json::ExitCode {
            code: row.exit.code(),
            kind: row.name,
            meaning: row.meaning,
        });
        context.console.json(&json::ExitCodes { exit_codes: codes.collect() })?;
    } else {
        context.console.line(exit::table().trim_end())?;
    }
    Ok(Exit::Success)
}
