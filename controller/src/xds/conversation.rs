//! What one stream has been told and has answered: the protocol without I/O.

use std::collections::VecDeque;

/// Pushes whose answer may still come. An Envoy that is further behind is not told apart any more.
const UNANSWERED: usize = 16;

/// What a request of either dialect says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether the resource is asked for from now on; `None` leaves it as it is.
    pub(super) wants: Option<Wants>,
    /// Which push this answers.
    pub(super) nonce: String,
    /// Why that push was refused.
    pub(super) error: Option<String>,
}

/// A change of the subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// The resource is named. Pushed if that is new.
    Named,
    /// The resource is asked for (again); the Envoy may hold a version of it from an earlier stream.
    Subscribe {
        /// The version it holds.
        holds: Option<String>,
    },
    /// The resource is of no interest any more.
    Nothing,
}

/// What a request meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The version is in use.
    Acked(String),
    /// The version was refused with this message.
    Nacked(String, String),
}

/// State of one stream.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    subscribed: bool,
    told: Option<String>,
    unanswered: VecDeque<(String, String)>,
    serial: u64,
}

impl Conversation {
    /// Takes a request in; what it answered, if it answered anything.
    pub(super) fn hear(&mut self, heard: Heard) -> Option<Answer> {
        let answer = self.answer(&heard.nonce, heard.error);
        match heard.wants {
            None => answer,
            Some(Wants::Named) => {
                if !self.subscribed {
                    self.subscribed = true;
                    self.told = None;
                }
                answer
            }
            Some(Wants::Subscribe { holds }) => {
                self.subscribed = true;
                self.told.clone_from(&holds);
                answer.or_else(|| holds.map(Answer::Acked))
            }
            Some(Wants::Nothing) => {
                self.subscribed = false;
                self.told = None;
                answer
            }
        }
    }

    /// Whether `version` is to be pushed.
    pub(super) fn owes(&self, version: &str) -> bool {
        self.subscribed && self.told.as_deref() != Some(version)
    }

    /// Notes that `version` is pushed now; the nonce to push it with.
    pub(super) fn tell(&mut self, version: &str) -> String {
        self.serial = self.serial.wrapping_add(1);
        let nonce = self.serial.to_string();
        if self.unanswered.len() == UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered
            .push_back((nonce.clone(), version.to_owned()));
        self.told = Some(version.to_owned());
        nonce
    }

    fn answer(&mut self, nonce: &str, error: Option<String>) -> Option<Answer> {
        if nonce.is_empty() {
            return None;
        }
        let at = self.unanswered.iter().position(|(sent, _)| sent == nonce)?;
        // Answers come in order: what was pushed before this one is not answered any more.
        let (_, version) = self.unanswered.drain(..=at).next_back()?;
        Some(match error {
            None => Answer::Acked(version),
            Some(message) => Answer::Nacked(version, message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Heard {
        Heard {
            wants: Some(Wants::Named),
            ..Heard::default()
        }
    }

    fn ack(nonce: &str) -> Heard {
        Heard {
            nonce: nonce.to_owned(),
            ..named()
        }
    }

    fn nack(nonce: &str) -> Heard {
        Heard {
            error: Some("bad".to_owned()),
            ..ack(nonce)
        }
    }

    #[test]
    fn nothing_is_owed_before_the_resource_is_asked_for() {
        assert!(!Conversation::default().owes("1"));
    }

    #[test]
    fn a_version_is_owed_once() {
        let mut stream = Conversation::default();
        assert_eq!(stream.hear(named()), None);
        assert!(stream.owes("1"));
        let nonce = stream.tell("1");
        assert!(!stream.owes("1"));
        assert_eq!(
            stream.hear(ack(&nonce)),
            Some(Answer::Acked("1".to_owned()))
        );
        assert!(!stream.owes("1"));
        assert!(stream.owes("2"));
    }

    #[test]
    fn a_refused_version_is_not_owed_again_but_the_next_is() {
        let mut stream = Conversation::default();
        stream.hear(named());
        let nonce = stream.tell("1");
        assert_eq!(
            stream.hear(nack(&nonce)),
            Some(Answer::Nacked("1".to_owned(), "bad".to_owned()))
        );
        assert!(!stream.owes("1"));
        assert!(stream.owes("2"));
    }

    #[test]
    fn an_answer_counts_once_and_an_unknown_nonce_never() {
        let mut stream = Conversation::default();
        stream.hear(named());
        let nonce = stream.tell("1");
        assert_eq!(stream.hear(ack("other")), None);
        assert!(stream.hear(ack(&nonce)).is_some());
        assert_eq!(stream.hear(ack(&nonce)), None);
    }

    #[test]
    fn an_answer_to_a_later_push_settles_the_earlier_ones() {
        let mut stream = Conversation::default();
        stream.hear(named());
        let first = stream.tell("1");
        let second = stream.tell("2");
        assert_eq!(
            stream.hear(ack(&second)),
            Some(Answer::Acked("2".to_owned()))
        );
        assert_eq!(stream.hear(nack(&first)), None);
    }

    #[test]
    fn what_an_envoy_holds_already_is_not_owed() {
        let mut stream = Conversation::default();
        let holds = |version: &str| Heard {
            wants: Some(Wants::Subscribe {
                holds: Some(version.to_owned()),
            }),
            ..Heard::default()
        };
        assert_eq!(stream.hear(holds("1")), Some(Answer::Acked("1".to_owned())));
        assert!(!stream.owes("1"));
        assert!(stream.owes("2"));
    }

    #[test]
    fn asking_again_after_leaving_owes_the_same_version_again() {
        let mut stream = Conversation::default();
        stream.hear(named());
        stream.tell("1");
        stream.hear(Heard {
            wants: Some(Wants::Nothing),
            ..Heard::default()
        });
        assert!(!stream.owes("2"));
        stream.hear(named());
        assert!(stream.owes("1"));
    }

    #[test]
    fn an_envoy_that_never_answers_costs_bounded_memory() {
        let mut stream = Conversation::default();
        stream.hear(named());
        for version in 0..1_000 {
            stream.tell(&version.to_string());
        }
        assert_eq!(stream.unanswered.len(), UNANSWERED);
    }
}
