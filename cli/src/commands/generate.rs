//! `completions` and `man`: made from the arguments' own description.

use clap::CommandFactory;

use crate::app::App;
use crate::args::{Cli, Completions, Man};
use crate::exit::{Error, Result};

pub(crate) fn completions(app: &mut App, args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "seriatim", &mut script);
    app.out.raw(&script)
}

pub(crate) fn man(app: &mut App, args: &Man) -> Result<()> {
    let command = Cli::command();
    if let Some(directory) = &args.dir {
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory));
        written.map_err(|e| Error::io(directory.display(), &e))?;
        app.note(&format!("the pages are in {}", directory.display()));
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(|e| Error::output(&e))?;
    app.out.raw(&page)
}
