//! Reads the sentences by their words and judges them by the stamps alone. It shares no code with
//! what makes them, and decides anew what each means.

use std::time::Duration;

use tests::Step;

use super::{A, B};
use crate::recording::{ClientDid, Lanes, Recording};
use crate::report::Report;

/// What people call soon; nobody waits for less by plan.
const SOON: f64 = 100.0;

/// The sentences that the recording contradicts, and those that say nothing known.
pub fn contradicted(recording: &Recording, report: &Report) -> Vec<String> {
    let longest = ms(recording.longest_frame);
    let stopped = report.summary.strip_prefix("Everything was stopped meanwhile, for ");
    let holds = if let Some(time) = stopped.and_then(|it| it.strip_suffix(": play it again.")) {
        longest > 5.0 * SOON && is(time, longest) && report.findings.is_empty()
    } else if report.findings.len() == recording.steps.len() && longest <= 5.0 * SOON {
        let sentences: Vec<&str> = report.summary.split_inclusive(". ").collect();
        let sentences = sentences.iter().map(|it| it.trim_end().trim_end_matches('.'));
        summary_holds(recording, &sentences.collect::<Vec<_>>()).unwrap_or(false)
    } else {
        false
    };
    let findings = recording.steps.iter().zip(&report.findings);
    let wrong =
        findings.filter(|(lanes, it)| !finding_holds(recording, lanes, it).unwrap_or(false));
    let wrong = wrong.map(|(lanes, it)| format!("{}: {it}", lanes.step));
    wrong.chain((!holds).then(|| report.summary.clone())).collect()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Whether `12.3 ms`, or `12.3`, is that number, rounded.
fn is(said: &str, number: f64) -> bool {
    let said = said.strip_suffix(" ms").unwrap_or(said);
    let digits = said.split_once('.').map_or(0, |(_, digits)| digits.len());
    let half = 0.500_001 / 10_f64.powi(i32::try_from(digits).unwrap_or(0));
    said.parse().is_ok_and(|said: f64| (said - number).abs() <= half)
}

fn stamps(lanes: &Lanes, client: usize, what: impl Fn(ClientDid) -> bool) -> Vec<f64> {
    let did = lanes.clients[client].iter();
    did.filter(|(_, did)| what(*did)).map(|(at, _)| ms(*at)).collect()
}

fn asked(lanes: &Lanes, client: usize) -> Vec<f64> {
    stamps(lanes, client, |did| did == ClientDid::Asks)
}

fn answered(lanes: &Lanes, client: usize) -> Vec<f64> {
    stamps(lanes, client, |did| did == ClientDid::Answered)
}

fn gone(lanes: &Lanes) -> Option<f64> {
    let gone = |did| matches!(did, ClientDid::Leaves | ClientDid::Resets);
    stamps(lanes, A, gone).first().copied()
}

/// `On steps 1, 2 and bare THE REST`: the servers, and the rest.
fn places<'a, 'b>(recording: &'a Recording, text: &'b str) -> Option<(Vec<&'a Lanes>, &'b str)> {
    let mut rest = text.strip_prefix("On ").or(text.strip_prefix("on ")).unwrap_or(text);
    let mut places = Vec::new();
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = word.trim_end_matches([',', ':']);
        let step = match name {
            "step" | "steps" | "and" => None,
            "1" => Some(Step::Blocking),
            "2" => Some(Step::Functions),
            "3" => Some(Step::Select),
            "bare" => Some(Step::Bare),
            "mio" => Some(Step::Mio),
            "tokio" => Some(Step::Tokio),
            _ => return (!places.is_empty()).then_some((places, rest)),
        };
        if let Some(step) = step {
            places.push(recording.steps.iter().find(|lanes| lanes.step == step)?);
        }
        rest = after;
        if word.ends_with(':') {
            return Some((places, rest));
        }
    }
}

/// Whether each part holds at its places, and every server is named once.
fn each_holds<'b>(
    recording: &Recording,
    parts: impl Iterator<Item = &'b str>,
    holds: impl Fn(&Lanes, &str) -> Option<bool>,
) -> Option<bool> {
    let mut named: Vec<Step> = Vec::new();
    for part in parts {
        let (places, claim) = places(recording, part)?;
        for lanes in places {
            if !holds(lanes, claim)? {
                return Some(false);
            }
            named.push(lanes.step);
        }
    }
    let all = recording.steps.iter().all(|lanes| named.contains(&lanes.step));
    Some(all && named.len() == recording.steps.len())
}

fn summary_holds(recording: &Recording, sentences: &[&str]) -> Option<bool> {
    let (first, more) = sentences.split_first()?;
    match recording.scenario.as_str() {
        "one-client" => one_client(recording, first),
        "crowd" => crowd(recording, sentences),
        "stream" => stream(recording, &sentences.join(". ")),
        "idle-crowd" => idle_crowd(recording, &sentences.join(". ")),
        _ => {
            let mut holds = each_holds(recording, first.split("; "), b_beside_a)?;
            for sentence in more {
                holds &= if *sentence == "Afterwards B asked again and was answered" {
                    recording.steps.iter().all(|lanes| {
                        let again = asked(lanes, B).get(1).copied().zip(gone(lanes));
                        again.is_some_and(|(again, gone)| again >= gone)
                            && answered(lanes, B).len() > 1
                    })
                } else {
                    let places_of_it = sentence.strip_prefix("The server stood in send() to A on ");
                    let named = format!("{} .", places_of_it?);
                    let (places, rest) = places(recording, &named)?;
                    rest == "." && places.iter().all(|lanes| lanes.stuck_in == Some("sendto"))
                };
            }
            Some(holds)
        }
    }
}

/// What is said of `B`'s first wait: did it ask before `A` was gone, was it answered after, and
/// soon?
fn b_beside_a(lanes: &Lanes, claim: &str) -> Option<bool> {
    let (Some(asked), Some(answered)) =
        (asked(lanes, B).first().copied(), answered(lanes, B).first().copied())
    else {
        return Some(claim == "B had no answer");
    };
    let Some(gone) = gone(lanes) else {
        return Some(claim == "B was answered, but when A left is not known");
    };
    let (wait, more) = (answered - asked, answered - gone);
    let resets = lanes.clients[A].iter().any(|(_, did)| *did == ClientDid::Resets);
    let stuck = stamps(lanes, A, |did| did == ClientDid::Stuck).first().copied();
    let well_before = gone - asked >= SOON;
    Some(match claim {
        "B waited as long as A stayed" | "B waited until A left" => {
            !resets && well_before && (0.0..SOON).contains(&more)
        }
        "B's wait ended with A's reset" => resets && well_before && (0.0..SOON).contains(&more),
        "as long as an answer takes"
        | "B waited as long as an answer takes"
        | "there was none to end" => more < 0.0 && wait < SOON,
        "B was answered while A was stuck" => {
            more < 0.0 && wait < SOON && stuck.is_some_and(|stuck| stuck <= asked)
        }
        "B was answered while A was there, but not at once" => more < 0.0 && wait >= SOON,
        "B waited longer than A stayed" => well_before && more >= SOON,
        "B came too late to tell" => !well_before && more >= 0.0,
        _ => return None,
    })
}

fn finding_holds(recording: &Recording, lanes: &Lanes, finding: &str) -> Option<bool> {
    let last =
        (0..lanes.clients.len()).filter_map(|client| answered(lanes, client).last().copied());
    let last = last.fold(0.0, f64::max);
    let measured = stamps(lanes, A, |did| matches!(did, ClientDid::Measured(_)));
    match recording.scenario.as_str() {
        "one-client" => {
            let (count, longest) = finding.split_once(", the longest wait ")?;
            let (asked, answered) = (asked(lanes, A), answered(lanes, A));
            let waits = asked.iter().zip(&answered).map(|(asked, answered)| answered - asked);
            let count = count.trim_end_matches('s').strip_suffix(" answer")?;
            Some(is(longest, waits.fold(0.0, f64::max)) && is(count, answered.len() as f64))
        }
        "crowd" => Some(is(finding.strip_prefix("done in ")?, last.floor())),
        "stream" => Some(finding.is_empty()),
        "idle-crowd" => match finding {
            "the server's processor time for an answer, the median" => Some(!measured.is_empty()),
            "time for an answer, the median" => Some(measured.is_empty()),
            _ => None,
        },
        _ => {
            let asked = asked(lanes, B).first().copied();
            let Some((asked, answered)) = asked.zip(answered(lanes, B).first().copied()) else {
                return Some(finding == "B was not answered");
            };
            let more = gone(lanes).map_or(0.0, |gone| answered - gone);
            let (time, claim) = finding.strip_prefix("B waited ")?.split_once(" ms")?;
            let (beyond, claim) = match claim.split_once(" more than ") {
                Some((beyond, claim)) => (beyond.strip_prefix(", "), claim),
                None => (None, claim.strip_prefix(", ").unwrap_or(claim)),
            };
            let claim = match (claim, beyond) {
                ("until A left" | "until A's reset", Some(beyond)) => {
                    if !is(beyond, more) {
                        return Some(false);
                    }
                    "B waited longer than A stayed"
                }
                ("until A left", None) => "B waited until A left",
                ("until A's reset", None) => "B's wait ended with A's reset",
                ("A was still there" | "A was stuck", None) if answered - asked < SOON => {
                    "as long as an answer takes"
                }
                ("A was still there" | "A was stuck", None) => {
                    "B was answered while A was there, but not at once"
                }
                ("but came too late to tell", None) => "B came too late to tell",
                ("; when A left is not known", None) => {
                    "B was answered, but when A left is not known"
                }
                _ => return None,
            };
            Some(is(time, answered - asked) && b_beside_a(lanes, claim)?)
        }
    }
}

fn one_client(recording: &Recording, sentence: &str) -> Option<bool> {
    let (places, rest) = places(recording, sentence)?;
    let last = |lanes: &&Lanes| answered(lanes, A).last().copied();
    if rest == "A had no answer" {
        return Some(places.iter().all(|lanes| last(lanes).is_none()));
    }
    let rest = rest.strip_prefix("A had its last answer after ")?;
    let (times, same) = rest.split_once(" ms")?;
    let times: Vec<&str> = times.split(", ").flat_map(|it| it.split(" and ")).collect();
    let ends: Vec<f64> = places.iter().filter_map(last).collect();
    let each = times.iter().zip(&ends).all(|(said, end)| is(said, end.floor()));
    let spread = ends.iter().copied().fold(0.0, f64::max)
        - ends.iter().copied().fold(f64::INFINITY, f64::min);
    let same = match same {
        "" => true,
        // What nobody sees.
        ": alone, a client sees no difference" => ends.len() > 1 && spread <= SOON / 5.0,
        _ => return None,
    };
    let whole = times.len() == ends.len() && ends.len() == recording.steps.len();
    Some(each && same && whole)
}

fn crowd(recording: &Recording, sentences: &[&str]) -> Option<bool> {
    let complete =
        |lanes: &Lanes| (0..lanes.clients.len()).all(|it| answered(lanes, it).len() == 2);
    let mut parts: Vec<String> = Vec::new();
    for sentence in sentences {
        if let Some(took) = sentence.strip_prefix("Ten clients took ") {
            // The places first, as elsewhere.
            for part in took.split(", and ") {
                let (times, rest) = part.split_once(" on ")?;
                let (places, why) = rest.split_once(", where ").unwrap_or((rest, ""));
                parts.push(format!("{places} : {times}: {why}"));
            }
        } else {
            parts.push(format!("{} : some: ", sentence.strip_suffix(" some had no answer")?));
        }
    }
    each_holds(recording, parts.iter().map(String::as_str), |lanes, claim| {
        let (times, why) = claim.strip_prefix(": ")?.split_once(": ")?;
        if times == "some" {
            return Some(!complete(lanes));
        }
        let clients = lanes.clients.len();
        let thinks = |client| {
            let thinks = stamps(lanes, client, |did| did == ClientDid::Thinks);
            Some((*thinks.first()?, *asked(lanes, client).get(1)?))
        };
        let thinks: Vec<(f64, f64)> = (0..clients).filter_map(thinks).collect();
        let why_holds = match why {
            // No two at the same time.
            "each thinks on everyone's time" => {
                let mut one_by_one = thinks.clone();
                one_by_one.sort_by(|one, other| one.0.total_cmp(&other.0));
                one_by_one.windows(2).all(|pair| pair[0].1 <= pair[1].0)
            }
            // All at some time.
            "all think at once" => {
                let latest = thinks.iter().map(|it| it.0).fold(0.0, f64::max);
                thinks.iter().all(|it| it.1 > latest)
            }
            "" => true,
            _ => return None,
        };
        // One alone: it waits for its answers as long as whoever waited least, and thinks.
        let took = |client: usize| {
            let (asked, answered) = (asked(lanes, client), answered(lanes, client));
            answered[1] - asked[1] + (answered[1] - answered[0])
        };
        let alone = (0..clients).map(took).fold(f64::INFINITY, f64::min);
        let last = (0..clients).map(|client| answered(lanes, client)[1]).fold(0.0, f64::max);
        let real = (last - asked(lanes, A)[0]) / alone;
        let said = match times.strip_suffix("as long as one")? {
            "" => 1.0,
            times => times.strip_suffix(" times ")?.parse().ok()?,
        };
        Some(complete(lanes) && why_holds && (real / said - 1.0).abs() < 0.2)
    })
}

fn stream(recording: &Recording, text: &str) -> Option<bool> {
    let counts = |lanes: &Lanes| {
        let second = stamps(lanes, A, |did| matches!(did, ClientDid::Sends { messages: 1, .. }));
        let second = second.first().copied().unwrap_or(f64::INFINITY);
        let answered = answered(lanes, A);
        let before = answered.iter().filter(|it| **it < second).count();
        (before, answered.len() - before)
    };
    let as_it_comes = |lanes: &Lanes| matches!(counts(lanes), (1, 3..));
    if let Some(said) = text.strip_prefix("3 messages had 1 answer and 1 long one had ") {
        let (said, why) = said.split_once(": ")?;
        let known = "TCP has bytes, no messages. Each recv() takes what has come, at most 4096 \
                     bytes, and is answered once";
        let (count, places) = said.split_once(", ")?;
        let holds =
            each_holds(recording, [format!("{places} .").as_str()].into_iter(), |lanes, _| {
                Some(as_it_comes(lanes) && is(count, counts(lanes).1 as f64))
            });
        return Some(holds? && why == known);
    }
    let differ = "The steps were sent the same bytes and differ in their answers: TCP has bytes, no \
                  messages, and how many each recv() takes depends on the moment";
    if text == differ {
        let all = recording.steps.iter().all(as_it_comes);
        return Some(all && recording.steps.windows(2).any(|it| counts(&it[0]) != counts(&it[1])));
    }
    each_holds(recording, text.split(". "), |lanes, claim| {
        let answers = |(sent, answers): (&str, &str), what: &str| {
            let count = answers.trim_end_matches('s').strip_suffix(" answer")?;
            (sent == what).then(|| count.parse::<usize>().ok()).flatten()
        };
        let (first, second) = claim.split_once("; ")?;
        let first = answers(first.split_once(" → ")?, "3 messages, 14 bytes")?;
        let second = answers(second.split_once(" → ")?, "1 message, 10000 bytes")?;
        Some(counts(lanes) == (first, second))
    })
}

fn idle_crowd(recording: &Recording, text: &str) -> Option<bool> {
    let median = |lanes: &Lanes, among: usize| {
        let mut idle = usize::MAX;
        let mut took = Vec::new();
        for (_, did) in &lanes.clients[A] {
            match did {
                ClientDid::Among(now) => idle = *now,
                ClientDid::Measured(time) if idle == among => took.push(ms(*time)),
                _ => {}
            }
        }
        took.sort_by(f64::total_cmp);
        took.get(took.len() / 2).copied()
    };
    let times = |lanes: &Lanes| Some(median(lanes, 900)? / median(lanes, 0)?);
    let (said, why) = text.split_once(": ").unwrap_or((text, ""));
    let said = said.replace("an answer among 900 idle clients took ", "");
    let said = said.replace(" the processor time of one among none", "");
    let parts = said.split(", ").flat_map(|it| it.split(" and "));
    let holds = each_holds(recording, parts, |lanes, claim| {
        Some(is(claim.strip_suffix(" times")?, times(lanes)?))
    });
    let of = |step| recording.steps.iter().find(|lanes| lanes.step == step).and_then(times);
    let grows = of(Step::Select).is_some_and(|times| times > 2.0);
    let flat = [of(Step::Mio), of(Step::Tokio)].into_iter().flatten().all(|times| times < 1.5);
    let why = match why {
        "" => true,
        "select() looks at every socket each time" => grows,
        "select() looks at every socket each time, epoll and kqueue tell of those alone that are \
         ready" => grows && flat,
        _ => return None,
    };
    Some(holds? && why)
}
