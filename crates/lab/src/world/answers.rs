//! Answers that a server gives instead of its own, and answers that do not come to their end: what a client has to withstand, and
//! what no statement that is simulated would bring about.

use crate::tsql::Event;

/// A request that has arrived at a SQL Server.
pub struct Request<'a> {
    /// FQDN of the server.
    pub server: &'a str,
    /// The statements.
    pub text: &'a str,
}

/// What comes back for a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// What is answered instead; nothing of the request is carried out then. None: it is, and this is its own answer.
    pub instead: Option<Vec<Event>>,
    /// How the answer ends.
    pub end: End,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Usual,
    /// After so many of its tokens, by an end with the error bit and without any error: as what is given up, and as what was killed
    /// in some versions (recorded).
    GivenUp(usize),
    /// After so many of its tokens, by the end that acknowledges an attention. It is recorded as a message of its own, behind the
    /// answer to what was given up; that it stands alone is what a client sees who has not asked for it.
    Acknowledged(usize),
    /// After so many of its tokens the connection is closed.
    CutOff(usize),
}

/// Says for each request how it is answered; none: as it should be.
pub type Choice = Box<dyn FnMut(&Request<'_>) -> Option<Answered> + Send>;

/// What is answered otherwise.
#[derive(Default)]
pub struct Answers {
    choice: Option<Choice>,
}

impl Answers {
    /// Sets what is answered otherwise from now on; `None`: nothing more.
    pub fn set(&mut self, choice: Option<Choice>) {
        self.choice = choice;
    }

    /// How a request is answered, if otherwise than it should be.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Option<Answered> {
        self.choice.as_mut().and_then(|choose| choose(request))
    }
}

/// Gives up the next request in which a text stands, before anything of it is carried out.
pub fn give_up_next(text: &str) -> Choice {
    let mut text = Some(text.to_string());
    Box::new(move |request| {
        text.take_if(|t| request.text.contains(t.as_str()))?;
        Some(Answered { instead: Some(vec![]), end: End::GivenUp(0) })
    })
}
