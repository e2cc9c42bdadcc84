//! Panics as errors of one line: the hook, which alone knows the place, keeps quiet and remembers it for whoever catches.

use std::any::Any;
use std::sync::Mutex;

static PLACE: Mutex<String> = Mutex::new(String::new());

/// From now on panics print nothing.
pub(crate) fn remember_places() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |location| format!(" at {}:{}", location.file(), location.line()));
        if let Ok(mut last) = PLACE.lock() {
            *last = place;
        }
    }));
}

/// Where a caught panic came from, when that is known, and what it said: ` at FILE:LINE: TEXT`.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    let place = PLACE.lock().map_or_else(|_| String::new(), |last| last.clone());
    format!("{place}: {text}")
}
