//! A show and its seats: the domain, which knows neither HTTP nor a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context};

/// A show: how many seats it has, and who reserved how many of them.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Show {
    pub seats: u32,
    pub reserved: BTreeMap<String, u32>,
    /// How often it changed, which is also the sequence of its latest event.
    pub changes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Announce { seats: u32 },
    Reserve { name: String, seats: u32 },
    Cancel { name: String },
}

/// A command, and the change up to which its sender knows the show, if that matters to the sender.
#[derive(Debug)]
pub struct Order {
    pub command: Command,
    pub known: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    Announced { seats: u32 },
    Reserved { name: String, seats: u32 },
    Cancelled { name: String },
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such show")]
    Unknown,
    #[error("the show has changed: you know it up to {known}, and it is at {changes}")]
    Changed { known: u64, changes: u64 },
    #[error("the show is announced already")]
    AnnouncedBefore,
    #[error("{wanted} seats are not to be had: {left} are left")]
    SoldOut { wanted: u32, left: u32 },
    #[error("{name} has no reservation")]
    NoReservation { name: String },
    #[error("no seats are no reservation, and no show")]
    NoSeats,
}

impl Show {
    pub fn left(&self) -> u32 {
        self.reserved.values().fold(self.seats, |left, seats| left.saturating_sub(*seats))
    }
}

impl Aggregate for Show {
    const KIND: &'static str = "show";
    type Command = Order;
    type Event = Event;
    type Error = Refusal;
    type Services = ();

    fn handle(&self, order: &Order, _: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        match order.known {
            Some(known) if known != self.changes => {
                return Err(Refusal::Changed { known, changes: self.changes });
            }
            _ => {}
        }
        match &order.command {
            Command::Announce { seats: 0 } | Command::Reserve { seats: 0, .. } => {
                Err(Refusal::NoSeats)
            }
            Command::Announce { .. } if self.changes > 0 => Err(Refusal::AnnouncedBefore),
            Command::Announce { seats } => Ok(vec![Event::Announced { seats: *seats }]),
            _ if self.changes == 0 => Err(Refusal::Unknown),
            Command::Reserve { seats, .. } if *seats > self.left() => {
                Err(Refusal::SoldOut { wanted: *seats, left: self.left() })
            }
            Command::Reserve { name, seats } => {
                Ok(vec![Event::Reserved { name: name.clone(), seats: *seats }])
            }
            Command::Cancel { name } if !self.reserved.contains_key(name) => {
                Err(Refusal::NoReservation { name: name.clone() })
            }
            Command::Cancel { name } => Ok(vec![Event::Cancelled { name: name.clone() }]),
        }
    }

    fn apply(&mut self, event: &Event) {
        self.changes += 1;
        match event {
            Event::Announced { seats } => self.seats = *seats,
            Event::Reserved { name, seats } => {
                *self.reserved.entry(name.clone()).or_default() += seats;
            }
            Event::Cancelled { name } => {
                self.reserved.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use seriatim::testing::Scenario;

    use super::*;

    fn order(command: Command) -> Order {
        Order { command, known: None }
    }

    fn reserve(name: &str, seats: u32) -> Order {
        order(Command::Reserve { name: name.to_owned(), seats })
    }

    fn reserved(name: &str, seats: u32) -> Event {
        Event::Reserved { name: name.to_owned(), seats }
    }

    #[test]
    fn no_more_seats_are_reserved_than_there_are() {
        Scenario::<Show>::given([Event::Announced { seats: 5 }, reserved("Ada", 3)])
            .when(reserve("Grace", 3))
            .then_error(Refusal::SoldOut { wanted: 3, left: 2 })
            .when(reserve("Grace", 2))
            .then_events([reserved("Grace", 2)])
            .when(order(Command::Cancel { name: "Ada".to_owned() }))
            .then_events([Event::Cancelled { name: "Ada".to_owned() }])
            .when(reserve("Grace", 3))
            .then_events([reserved("Grace", 3)]);
    }

    #[test]
    fn an_order_on_an_earlier_state_is_refused() {
        let known = |known| Order { known: Some(known), ..reserve("Ada", 1) };
        Scenario::<Show>::given([Event::Announced { seats: 5 }])
            .when(known(1))
            .then_events([reserved("Ada", 1)])
            .when(known(1))
            .then_error(Refusal::Changed { known: 1, changes: 2 });
    }

    #[test]
    fn a_show_is_announced_once_and_before_anything_else() {
        Scenario::<Show>::given([])
            .when(reserve("Ada", 1))
            .then_error(Refusal::Unknown)
            .when(order(Command::Announce { seats: 5 }))
            .then_events([Event::Announced { seats: 5 }])
            .when(order(Command::Announce { seats: 9 }))
            .then_error(Refusal::AnnouncedBefore);
    }
}
