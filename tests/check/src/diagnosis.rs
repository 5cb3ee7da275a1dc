//! Mistakes that `check` recognizes by the texts that they cause.

/// A mistake, and the texts by which `check` recognizes it.
#[derive(Debug)]
pub struct Diagnosis {
    /// One of these texts is in the server's output or exit status, or in the failure of the client.
    signs: &'static [&'static str],
    pub sentence: &'static str,
    /// The page and section that explain the mistake. None if those of the case do.
    pub section: Option<&'static str>,
}

const DIAGNOSES: &[Diagnosis] = &[
    Diagnosis {
        signs: &["file descriptor cannot be a negative integer", "Bad file descriptor", "EBADF"],
        sentence: "Your server closed a client's socket, but left it in the list for select.",
        section: Some("step3-select/HARDENING.md#a-client-that-disconnects-and-stays-in-the-list"),
    },
    Diagnosis {
        signs: &["socket [closed] fd=-1"],
        sentence: "Your server used a client's socket after it had closed that socket.",
        section: Some("step3-select/HARDENING.md#a-client-that-disconnects-and-stays-in-the-list"),
    },
    Diagnosis {
        signs: &["out of range in select", "FD_SETSIZE"],
        sentence: "select takes only file descriptors below 1024, but your server passed a higher one.",
        section: Some("step3-select/HARDENING.md#more-clients-than-fit"),
    },
    Diagnosis {
        signs: &["Too many open files", "EMFILE", "ENFILE"],
        sentence: "Your server ended because it had no free file descriptor for a new client.",
        section: Some("step3-select/HARDENING.md#more-clients-than-fit"),
    },
    Diagnosis {
        signs: &["Address already in use", "EADDRINUSE"],
        sentence: "The port was still in use. Set SO_REUSEADDR on the listening socket before bind.",
        section: Some("step3-select/HARDENING.md#a-port-that-is-still-in-use"),
    },
    Diagnosis {
        signs: &["temporarily unavailable", "EAGAIN", "EWOULDBLOCK"],
        sentence: "A call on a non-blocking socket would have blocked, and your server did not handle \
                   that error.",
        section: None,
    },
    Diagnosis {
        signs: &["SIGPIPE"],
        sentence: "Your server sent to a client that had reset its connection, and the signal SIGPIPE \
                   ended it. Ignore that signal.",
        section: Some("step3-select/HARDENING.md#a-client-that-resets"),
    },
    Diagnosis {
        signs: &["Interrupted system call", "InterruptedError", "EINTR"],
        sentence: "A signal interrupted a call, and your server did not make the call again.",
        section: Some("step3-select/HARDENING.md#a-signal"),
    },
    Diagnosis {
        signs: &["no end of the stream"],
        sentence: "When recv returns 0 bytes, the end of the stream, your server must close that socket.",
        section: Some("step3-select/HARDENING.md#the-end-of-the-stream"),
    },
    Diagnosis {
        signs: &["a new client has not sent anything yet"],
        sentence: "Your server is blocked in recv for the new client, so it cannot serve the others.",
        section: Some("step3-select/HARDENING.md#a-call-that-blocks-the-loop"),
    },
    Diagnosis {
        signs: &["a client that connects after a silent one"],
        sentence: "Your server waits for a message of the silent client before it accepts the next one.",
        section: Some("step3-select/HARDENING.md#a-call-that-blocks-the-loop"),
    },
    Diagnosis {
        signs: &["'socket' object has no attribute"],
        sentence: "A variable named socket hides the module socket. Rename the variable.",
        section: Some("step3-select/HARDENING.md#a-client-that-resets"),
    },
    Diagnosis {
        signs: &[
            "Connection reset by peer",
            "ECONNRESET",
            "Broken pipe",
            "EPIPE",
            "ConnectionAbortedError",
        ],
        sentence: "A client reset its connection, and your server did not handle the error of recv or \
                   send.",
        section: Some("step3-select/HARDENING.md#a-client-that-resets"),
    },
];

impl Diagnosis {
    /// Returns the diagnosis of a server that printed `lines`. `result` is its exit status, or what the
    /// client expected and got if the server is still running.
    pub fn find(lines: &[String], result: &str) -> Option<&'static Self> {
        // The last line names the error.
        let mut texts = lines.iter().rev().map(String::as_str).chain([result]);
        texts.find_map(|text| {
            DIAGNOSES
                .iter()
                .find(|diagnosis| diagnosis.signs.iter().any(|sign| text.contains(sign)))
        })
    }

    pub fn all() -> impl Iterator<Item = &'static Self> {
        DIAGNOSES.iter()
    }
}
