CREATE TABLE repository_reference_write_locks (
    lock_id text PRIMARY KEY,
    holder_txn_id bigint NOT NULL,
    expired_at timestamp with time zone NOT NULL
);

CREATE INDEX repository_reference_write_locks_expired_at_idx ON repository_reference_write_locks (expired_at);

CREATE FUNCTION notify_on_write_lock_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('repository_reference_write_lock_releases', OLD.lock_id);
    RETURN OLD;
END
$$;

CREATE TRIGGER notify_on_write_lock_delete
    AFTER DELETE ON repository_reference_write_locks
    FOR EACH ROW EXECUTE FUNCTION notify_on_write_lock_release();
