//! Content of a stream.

use async_nats::{
    Client,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        message::Message,
    },
};
use futures_util::StreamExt as _;

/// All messages of a stream so far; none if it is missing.
pub(crate) async fn messages(client: Client, stream: &str) -> Vec<Message> {
    let Ok(mut stream) = jetstream::new(client).get_stream(stream).await else {
        return Vec::new();
    };
    let count = stream
        .info()
        .await
        .expect("the stream's state")
        .state
        .messages as usize;
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let received = consumer
        .fetch()
        .max_messages(count)
        .messages()
        .await
        .expect("messages");
    let messages: Vec<_> = received
        .map(|message| message.expect("a message"))
        .collect()
        .await;
    assert!(
        messages.len() >= count,
        "{} of {count} messages",
        messages.len()
    );
    messages
}
