//! The commands, one a file.

mod append;
mod backup;
mod bench;
mod compact;
mod consumers;
mod event_rows;
mod export;
mod generate;
mod import;
#[cfg(feature = "inspect")]
mod inspect;
mod keys;
mod log;
mod read;
mod reindex;
mod restore;
mod stats;
mod verify;

use crate::app::App;
use crate::args::Command;
use crate::exit::Result;

pub(crate) async fn run(app: &mut App, command: Command) -> Result<()> {
    match command {
        Command::Keys(args) => keys::run(app, args).await,
        Command::Read(args) => read::run(app, args).await,
        Command::Log(args) => log::run(app, args).await,
        Command::Append(args) => append::run(app, args).await,
        Command::Stats(args) => stats::run(app, args).await,
        Command::Verify(args) => verify::run(app, args).await,
        Command::Reindex(args) => reindex::run(app, args).await,
        Command::Compact(args) => compact::run(app, args).await,
        Command::Export(args) => export::run(app, args).await,
        Command::Import(args) => import::run(app, args).await,
        Command::Backup(args) => backup::run(app, args).await,
        Command::Restore(args) => restore::run(app, args).await,
        Command::Consumers(args) => consumers::run(app, args).await,
        #[cfg(feature = "inspect")]
        Command::Inspect(args) => inspect::run(app, args).await,
        Command::Bench(args) => bench::run(app, args).await,
        Command::Completions(args) => generate::completions(app, &args),
        Command::Man(args) => generate::man(app, &args),
    }
}
