//! What the command line says, checked: nothing behind this module meets a zero, an unknown mode or a
//! size that cannot work.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::*;

use crate::modes::Mode;
use crate::payload;

pub(crate) const HELP: &str = "\
Many writers on one event store at once; then the store is closed, opened again and read whole, and
every answered append must be there exactly once, in place, without gaps.

Usage: concurrent_writers [OPTIONS]

Options:
  --writers N        Writers at work at the same time [default: 64]
  --aggregates N     Aggregates they write to [default: append one per writer, the others 4]
  --seconds N        How long each mode runs; fractions are fine [default: 5]
  --payload BYTES    Size of each event's JSON data, 64 to 4194304 [default: 200]
  --mode MODE        append, race, conflict or execute; may be repeated [default: all, one by one]
                       append    each writer on aggregates of its own, exact expectation; timed is
                                 the append
                       race      all writers on few aggregates: read the tail, append, again on a
                                 conflict; timed is all of it, up to the commit
                       conflict  stale expectations only, so that every append must be refused;
                                 timed is the refusal, and the rate is that of refusals
                       execute   all writers send commands to few entities; timed is the command
  --store URL        memory:, redb:DIRECTORY or whatever else this build opens; every run takes keys
                     of its own [default: redb in a temporary folder, removed at the end]
  --report FILE      Write an HTML page with plots of throughput and latency
  --json             One line of JSON per mode on standard output, and nothing else there
  -h, --help         This text

Ctrl-C stops the writing; what was written until then is still verified. A second one ends at once.
The exit code is 0 if everything was found as answered, 1 if not, 2 for a wrong call.
";

const MAX_WRITERS: usize = 100_000;
const MAX_AGGREGATES: usize = 10_000_000;
const MAX_SECONDS: f64 = 86_400.0;

pub(crate) enum Command {
    Run(Options),
    Help,
}

pub(crate) struct Options {
    pub(crate) writers: usize,
    aggregates: Option<usize>,
    pub(crate) duration: Duration,
    /// Bytes of an event's data.
    pub(crate) payload: usize,
    pub(crate) modes: Vec<Mode>,
    pub(crate) store: Option<String>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            writers: 64,
            aggregates: None,
            duration: Duration::from_secs(5),
            payload: 200,
            modes: Vec::new(),
            store: None,
            report: None,
            json: false,
        }
    }
}

impl Options {
    pub(crate) fn aggregates(&self, mode: Mode) -> usize {
        self.aggregates.unwrap_or_else(|| mode.default_aggregates(self.writers))
    }
}

/// What is wrong with the call, in words for who made it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongCall(String);

impl From<lexopt::Error> for WrongCall {
    fn from(error: lexopt::Error) -> Self {
        WrongCall(error.to_string())
    }
}

/// Reads the arguments; the first one is the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, WrongCall> {
    let mut parser = lexopt::Parser::from_iter(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("json") => options.json = true,
            Long("report") => options.report = Some(parser.value()?.into()),
            Long("store") => options.store = Some(parser.value()?.string()?),
            Long("mode") => {
                let mode = parser.value()?.string()?;
                let parsed =
                    mode.parse().map_err(|error| WrongCall(format!("--mode {mode}: {error}")));
                options.modes.push(parsed?);
            }
            Long("writers") => options.writers = count(&mut parser, "--writers", 1, MAX_WRITERS)?,
            Long("aggregates") => {
                options.aggregates = Some(count(&mut parser, "--aggregates", 1, MAX_AGGREGATES)?);
            }
            Long("payload") => {
                options.payload =
                    count(&mut parser, "--payload", payload::MIN_BYTES, payload::MAX_BYTES)?;
            }
            Long("seconds") => options.duration = seconds(&mut parser)?,
            unknown => return Err(unknown.unexpected().into()),
        }
    }
    if options.modes.is_empty() {
        options.modes.extend(Mode::ALL);
    }
    for mode in &options.modes {
        let (writers, aggregates) = (options.writers, options.aggregates(*mode));
        if aggregates < mode.least_aggregates(writers) {
            return Err(WrongCall(format!(
                "--aggregates {aggregates} is too few for {writers} writers in mode {mode}, where each \
                 writer has aggregates of its own"
            )));
        }
    }
    Ok(Command::Run(options))
}

fn number<T: FromStr>(parser: &mut lexopt::Parser, flag: &str) -> Result<T, WrongCall> {
    let text = parser.value()?.string()?;
    text.parse()
        .map_err(|_| WrongCall(format!("{flag} {text}: not a number that can be used here")))
}

fn count(
    parser: &mut lexopt::Parser,
    flag: &str,
    least: usize,
    most: usize,
) -> Result<usize, WrongCall> {
    let number: usize = number(parser, flag)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(WrongCall(format!("{flag} {number}: must be {least} to {most}")))
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, WrongCall> {
    let number: f64 = number(parser, "--seconds")?;
    if number > 0.0 && number <= MAX_SECONDS {
        return Ok(Duration::from_secs_f64(number));
    }
    Err(WrongCall(format!("--seconds {number}: must be more than 0 and at most {MAX_SECONDS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, WrongCall> {
        let words = std::iter::once("concurrent_writers").chain(line.split_whitespace());
        parse(words.map(OsString::from))
    }

    fn options(line: &str) -> Options {
        match parsed(line) {
            Ok(Command::Run(options)) => options,
            Ok(Command::Help) => panic!("{line:?} asked for help"),
            Err(error) => panic!("{line:?} was refused: {error}"),
        }
    }

    #[test]
    fn without_flags_all_modes_run_on_a_store_of_their_own() {
        let options = options("");
        assert_eq!(options.modes, Mode::ALL);
        assert_eq!(options.store, None);
        assert_eq!(options.aggregates(Mode::Append), options.writers);
    }

    #[test]
    fn flags_are_taken_with_and_without_an_equals_sign() {
        let options =
            options("--writers 8 --aggregates=16 --seconds 0.5 --mode race --mode=append --json");
        assert_eq!((options.writers, options.aggregates(Mode::Race)), (8, 16));
        assert_eq!(options.duration, Duration::from_millis(500));
        assert_eq!(options.modes, [Mode::Race, Mode::Append]);
        assert!(options.json);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, named) in [
            ("--writer 3", "--writer"),
            ("--writers 0", "--writers 0: must be 1 to"),
            ("--writers many", "--writers many"),
            ("--writers", "--writers"),
            ("--seconds 0", "--seconds 0: must be more than 0"),
            ("--seconds NaN", "--seconds NaN"),
            ("--payload 8", "--payload 8: must be 64"),
            ("--mode rase", "append, race, conflict"),
            ("--mode append --writers 8 --aggregates 4", "too few for 8 writers"),
            ("extra", "extra"),
        ] {
            match parsed(line) {
                Err(error) => assert!(error.to_string().contains(named), "{line:?}: {error}"),
                Ok(_) => panic!("{line:?} was taken"),
            }
        }
    }
}
