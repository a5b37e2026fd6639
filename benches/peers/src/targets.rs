//! What the store is measured against, and how far it came.

use crate::contenders::{CONTENDERS, Kind};
use crate::rounds::Results;

/// A target: in a workload, one of our figures against another one.
pub(crate) struct Target {
    pub(crate) workload: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) against: Against,
    pub(crate) bound: Bound,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Against {
    /// The same figure of this contender.
    Contender(&'static str),
    /// The largest such figure of the durable peers.
    BestPeer,
    /// Another figure of our own.
    Own(&'static str),
    /// This many.
    Number(f64),
}

/// How the quotient of our figure and the other one must be.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    Above(f64),
    AtMost(f64),
    Below(f64),
}

impl Bound {
    pub(crate) fn holds(self, quotient: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => quotient >= bound,
            Bound::Above(bound) => quotient > bound,
            Bound::AtMost(bound) => quotient <= bound,
            Bound::Below(bound) => quotient < bound,
        }
    }
}

const fn rate(workload: &'static str, against: Against, bound: Bound) -> Target {
    Target { workload, ours: "seriatim", figure: "rate", against, bound }
}

use Against::{BestPeer, Contender, Number, Own};
use Bound::{Above, AtLeast, AtMost, Below};

/// Every target, in the order of the table.
pub(crate) const TARGETS: &[Target] = &[
    rate("append-1", Contender("file-zeroed"), AtLeast(0.75)),
    rate("append-1", Contender("tephra"), Above(1.0)),
    rate("append-1", Contender("redb-one"), Above(1.0)),
    rate("append-1", Contender("redb-group"), Above(1.0)),
    rate("append-1", Contender("fjall"), Above(1.0)),
    rate("append-64", Contender("file-zeroed"), AtLeast(0.7)),
    rate("append-64", BestPeer, AtLeast(2.0)),
    rate("append-512", Contender("file-zeroed"), AtLeast(0.4)),
    rate("append-512", BestPeer, AtLeast(1.3)),
    rate("batch-1000", BestPeer, Above(1.0)),
    rate("stale-1", BestPeer, AtLeast(10.0)),
    rate("stale-64", BestPeer, AtLeast(10.0)),
    rate("replay-one", Contender("redb-group"), AtLeast(0.8)),
    rate("replay-together", Contender("redb-group"), AtLeast(0.8)),
    rate("replay-interleaved", Contender("redb-group"), AtLeast(0.8)),
    rate("many", BestPeer, Above(1.0)),
    Target {
        workload: "many",
        ours: "seriatim",
        figure: "bytes_per_event",
        against: Number(320.0),
        bound: AtMost(1.0),
    },
    Target {
        workload: "many",
        ours: "seriatim",
        figure: "peak_mib",
        against: Number(400.0),
        bound: AtMost(1.0),
    },
    Target {
        workload: "memory-64",
        ours: "seriatim-memory",
        figure: "rate",
        against: Number(500_000.0),
        bound: AtLeast(1.0),
    },
    Target {
        workload: "memory-64",
        ours: "seriatim-memory",
        figure: "rate",
        against: Contender("redb-memory"),
        bound: AtLeast(10.0),
    },
    Target {
        workload: "append-64",
        ours: "seriatim",
        figure: "p99_us",
        against: Own("p50_us"),
        bound: Below(6.0),
    },
    Target {
        workload: "cold-keys",
        ours: "seriatim",
        figure: "with_us",
        against: Own("without_us"),
        bound: Below(1.1),
    },
];

/// A target with its figures.
pub(crate) struct Reached {
    pub(crate) ours: f64,
    /// Whose figure the other one is.
    pub(crate) against: String,
    pub(crate) theirs: f64,
}

impl Reached {
    pub(crate) fn quotient(&self) -> f64 {
        self.ours / self.theirs
    }
}

impl Target {
    /// How far it was reached; `None` where one of its figures was not measured.
    pub(crate) fn reached(&self, results: &Results) -> Option<Reached> {
        let figure = |contender| results.figure(self.workload, contender, self.figure);
        let ours = figure(self.ours)?;
        let (against, theirs) = match self.against {
            Contender(name) => (name.to_owned(), figure(name)?),
            Number(number) => (String::new(), number),
            Own(other) => (String::new(), results.figure(self.workload, self.ours, other)?),
            BestPeer => {
                let peers = CONTENDERS.iter().filter(|about| about.kind == Kind::Peer);
                let figures = peers.filter_map(|about| Some((about.name, figure(about.name)?)));
                let (name, best) = figures.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
                (format!("the best peer, {name}"), best)
            }
        };
        Some(Reached { ours, against, theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use crate::workloads::WORKLOADS;

    fn rates(rates: &[(&'static str, f64)]) -> Results {
        let mut results = Results::default();
        for (contender, rate) in rates {
            results.insert("append-64", contender, Figures::default().with("rate", *rate));
        }
        results
    }

    #[test]
    fn the_best_peer_is_no_plain_file_and_not_the_store_itself() {
        let results =
            rates(&[("seriatim", 90.0), ("file-zeroed", 100.0), ("fjall", 30.0), ("tephra", 45.0)]);
        let target = rate("append-64", BestPeer, AtLeast(2.0));
        let reached = target.reached(&results).unwrap();
        assert_eq!(reached.against, "the best peer, tephra");
        assert_eq!(reached.quotient(), 2.0);
        assert!(target.bound.holds(2.0) && !target.bound.holds(1.99));
    }

    #[test]
    fn a_target_without_its_figures_is_not_judged() {
        let target = rate("append-64", Contender("file-zeroed"), AtLeast(0.7));
        assert!(target.reached(&rates(&[("seriatim", 90.0)])).is_none());
    }

    #[test]
    fn every_target_names_a_workload_that_measures_both_sides() {
        for target in TARGETS {
            let entry = WORKLOADS.iter().find(|entry| entry.name == target.workload).unwrap();
            let takes_part = |name| entry.is_for(crate::contenders::about(name).unwrap());
            assert!(takes_part(target.ours), "{}", target.workload);
            if let Contender(name) = target.against {
                assert!(takes_part(name), "{} against {name}", target.workload);
            }
        }
    }
}
