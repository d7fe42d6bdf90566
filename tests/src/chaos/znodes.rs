//! The cluster's znodes, as somebody with another client changes them.

use replication::testing::options::Random;
use zookeeper_client::{Client, Error};

/// The znodes below the cluster's chroot.
pub struct Tree {
    addresses: String,
    chroot: &'static str,
}

impl Tree {
    /// The tree below `chroot` in the ensemble with these addresses.
    pub fn new(addresses: &str, chroot: &'static str) -> Tree {
        Tree { addresses: addresses.to_owned(), chroot }
    }

    /// Deletes all znodes, the chroot's own included.
    ///
    /// # Errors
    ///
    /// What ZooKeeper said.
    pub fn delete(&self) -> Result<(), String> {
        self.with(async |client| {
            // Nodes may make new ones meanwhile.
            for _ in 0..100 {
                let mut all = below(&client, self.chroot).await?;
                all.reverse();
                for path in &all {
                    match client.delete(path, None).await {
                        Ok(()) | Err(Error::NoNode | Error::NotEmpty) => {}
                        Err(error) => return Err(error),
                    }
                }
                if client.check_stat(self.chroot).await?.is_none() {
                    return Ok(());
                }
            }
            Err(Error::NotEmpty)
        })
    }

    /// Writes junk into one znode that holds something.
    ///
    /// # Errors
    ///
    /// What ZooKeeper said.
    pub fn spoil(&self, random: &mut Random) -> Result<String, String> {
        self.with(async |client| {
            let mut full = Vec::new();
            for path in below(&client, self.chroot).await? {
                match client.get_data(&path).await {
                    Ok((data, stat)) if !data.is_empty() && stat.ephemeral_owner == 0 => full.push(path),
                    Ok(_) | Err(Error::NoNode) => {}
                    Err(error) => return Err(error),
                }
            }
            full.sort();
            let path = full[random.below(full.len() as u64) as usize].clone();
            let junk: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
            client.set_data(&path, &junk, None).await?;
            Ok(path)
        })
    }

    fn with<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T, Error>) -> Result<T, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
        let done = runtime.block_on(async { work(Client::connect(&self.addresses).await?).await });
        done.map_err(|error| format!("znodes: {error}"))
    }
}

/// The paths of a znode and all below it, parents first.
async fn below(client: &Client, root: &str) -> Result<Vec<String>, Error> {
    let (mut found, mut at) = (vec![root.to_owned()], 0);
    while at < found.len() {
        let children = match client.list_children(&found[at]).await {
            Err(Error::NoNode) => Vec::new(),
            children => children?,
        };
        found.extend(children.into_iter().map(|child| format!("{}/{child}", found[at])).collect::<Vec<_>>());
        at += 1;
    }
    Ok(found)
}
