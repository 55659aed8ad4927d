//! The driver for everything that speaks OpenAI's shape. Thin: the request goes through as it came, but
//! for the model and what streaming needs; the answer comes back as it is, or, when it streamed, put
//! together from its pieces.

pub(crate) mod body;
mod decode;
pub(crate) mod http;
mod pieces;
pub(crate) mod preset;

use domain::model_definition::Provider;

use crate::try_once::{Delivery, Drivers, Listener, Reply, Try, TryFailure};

/// Asks once.
pub(crate) async fn ask(
    drivers: &Drivers,
    ask: Try<'_>,
    listener: &mut Listener<'_>,
) -> Result<Reply, TryFailure> {
    let body = body::for_provider(ask.body, &ask.deployment.model, ask.delivery);
    let response = match ask.deployment.provider {
        Provider::Scripted => drivers.scripted.ask(&ask, &body).await,
        _ => http::send(&drivers.clients, &ask, body.clone()).await?,
    };
    let decoder = decode::Decoder { ask: &ask, sent: &body, max_bytes: drivers.max_answer_bytes };
    match ask.delivery {
        Delivery::Whole => decoder.whole(response).await,
        Delivery::Stream => decoder.stream(response, listener).await,
    }
}
