//! Pieces of one artifact that wait together are one piece.

use muster_protocol::a2a::{Content, Part, StreamResponse, TaskArtifactUpdateEvent};

/// How long a joined piece may be, in bytes.
const LONGEST: usize = 256 << 10;

/// Joins each piece of text with those that directly continue it. Whoever appends them gets the same artifact. The place of a joined piece is
/// that of its last part; none goes beyond the place `cut`.
#[must_use]
pub fn joined(events: Vec<(Option<u64>, StreamResponse)>, cut: Option<u64>) -> Vec<(Option<u64>, StreamResponse)> {
    let mut all: Vec<(Option<u64>, StreamResponse)> = Vec::with_capacity(events.len());
    for (place, event) in events {
        let is_joined = all.last_mut().is_some_and(|(last_place, last)| {
            let is_joined = (last_place.is_none() || *last_place != cut) && join(last, &event);
            if is_joined {
                *last_place = place;
            }
            is_joined
        });
        if !is_joined {
            all.push((place, event));
        }
    }
    all
}

/// Appends one event to another, if that is what it does.
fn join(one: &mut StreamResponse, next: &StreamResponse) -> bool {
    let (StreamResponse::ArtifactUpdate(one), StreamResponse::ArtifactUpdate(next)) = (one, next) else { return false };
    if one.last_chunk || !next.append || one.artifact.artifact_id != next.artifact.artifact_id || !is_plain(one) || !is_plain(next) {
        return false;
    }
    let ([Part { content: Content::Text(text), .. }], [Part { content: Content::Text(more), .. }]) =
        (one.artifact.parts.as_mut_slice(), next.artifact.parts.as_slice())
    else {
        return false;
    };
    if text.len() + more.len() > LONGEST {
        return false;
    }
    text.push_str(more);
    one.last_chunk = next.last_chunk;
    true
}

/// Whether there is nothing to it but its text.
fn is_plain(event: &TaskArtifactUpdateEvent) -> bool {
    let artifact = &event.artifact;
    let is_bare = |part: &Part| part.metadata.is_empty() && part.filename.is_none() && part.media_type.is_none();
    event.metadata.is_empty() && artifact.metadata.is_empty() && artifact.extensions.is_empty() && artifact.parts.iter().all(is_bare)
}
