//! `reservations [ADDRESS] [STORE]`: serves until it is told to end, then closes the store.

use std::net::TcpListener;

use seriatim::EventStore;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8080".to_owned());
    let url = arguments.next().unwrap_or("redb:./shows".to_owned());

    let store = EventStore::open(&url).await?;
    let listener = TcpListener::bind(&address)?;
    println!("{url} is served on http://{}", listener.local_addr()?);
    reservations::serve(listener, store.clone())?.await?;
    store.close().await?;
    Ok(())
}
