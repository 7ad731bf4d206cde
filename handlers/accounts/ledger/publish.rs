//! Publishes an upload: its reservation, if it has one, is replaced by the entry of the file.

use rusqlite::{Connection, params};

use super::super::store::account_of;
use super::{
    Judgement, Ledger, Permits, Placed, Quotas, RELEASE, REMOVE_ENTRY, Result, Transaction, Upload,
    Wanted, saturated, user_id,
};

const SET_ENTRY: &str = "INSERT INTO files (folder, path, user, bytes) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (folder, path) DO UPDATE SET user = excluded.user, bytes = excluded.bytes";

impl Ledger {
    /// Turns an upload into a file. If the upload has no row, it has reserved nothing, so its
    /// quotas are checked now. `put` gives the file its name and returns its path, or `None` if
    /// that failed: then nothing changes. `put` must not take long. If the upload has a user,
    /// `permits` is called before `put` in the same transaction, so that the rights cannot change
    /// in between.
    ///
    /// `put` is called within the transaction. So if two uploads have the same name, the entry in
    /// the ledger is always that of the file which has the name.
    ///
    /// # Errors
    /// The file cannot be written, before or after `put`.
    pub(crate) fn publish(
        &self,
        upload: Upload<'_>,
        quotas: Quotas,
        has_row: bool,
        permits: Option<Permits<'_>>,
        put: impl FnOnce() -> Option<Placed>,
    ) -> Result<Judgement> {
        self.with(|connection| {
            let transaction = Transaction::begin(connection)?;
            let user = match has_row {
                true => self.end_reservation(&transaction, &upload)?,
                false => user_id(&transaction, upload.user)?,
            };
            let user = match user {
                Ok(user) => user,
                Err(judgement) => return Ok(judgement),
            };
            if let (Some(permits), Some(name)) = (permits, upload.user)
                && !account_of(&transaction, name)?.is_some_and(|account| permits(&account))
            {
                return Ok(Judgement::NoUser);
            }
            if upload.bytes > 0 {
                let wanted = Wanted {
                    bytes: upload.bytes,
                    ..Wanted::nothing_more(user, upload.target, upload.replaces)
                };
                let judgement = self.judge(&transaction, wanted, quotas)?;
                if judgement != Judgement::Fits {
                    return Ok(judgement);
                }
            }
            let Some(placed) = put() else {
                return Ok(Judgement::Fits);
            };
            self.enter_file(&transaction, user, &placed, upload.bytes)?;
            transaction.commit()?;
            Ok(Judgement::Fits)
        })
    }

    /// Removes the row of an upload. Returns its user.
    fn end_reservation(
        &self,
        connection: &Connection,
        upload: &Upload<'_>,
    ) -> rusqlite::Result<std::result::Result<Option<i64>, Judgement>> {
        let row = self.upload(connection, upload.id)?;
        // The row is removed together with its user.
        let Some((_, user)) = row.or(upload.user.is_none().then_some((0, None))) else {
            return Ok(Err(Judgement::NoUser));
        };
        let id = params![self.0.folder, upload.id];
        connection.prepare_cached(RELEASE)?.execute(id)?;
        Ok(Ok(user))
    }

    /// Enters a file that has got its name.
    pub(super) fn enter_file(
        &self,
        connection: &Connection,
        user: Option<i64>,
        placed: &Placed,
        bytes: u64,
    ) -> rusqlite::Result<()> {
        let folder = self.0.folder;
        match user {
            Some(user) => {
                let file = params![folder, placed.path, user, saturated(bytes)];
                connection.prepare_cached(SET_ENTRY)?.execute(file)?
            }
            None => connection
                .prepare_cached(REMOVE_ENTRY)?
                .execute(params![folder, placed.path])?,
        };
        self.add(
            connection,
            saturated(bytes).saturating_sub(saturated(placed.replaced)),
        )
    }
}
