-- Tells listeners about every changed row, whole rows before and after; the channel is the trigger's argument.
CREATE FUNCTION notify_on_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_rows jsonb;
    new_rows jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT jsonb_agg(to_jsonb(changed)) INTO old_rows FROM old AS changed;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT jsonb_agg(to_jsonb(changed)) INTO new_rows FROM new AS changed;
    END IF;
    IF old_rows IS NOT NULL OR new_rows IS NOT NULL THEN
        PERFORM pg_notify(
            TG_ARGV[TG_NARGS - 1],
            jsonb_build_object('old', old_rows, 'new', new_rows)::text
        );
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_on_delete
    AFTER DELETE ON repositories
    REFERENCING OLD TABLE AS old
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('repositories_updates');

CREATE TRIGGER notify_on_insert
    AFTER INSERT ON storage_repositories
    REFERENCING NEW TABLE AS new
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');

CREATE TRIGGER notify_on_update
    AFTER UPDATE ON storage_repositories
    REFERENCING OLD TABLE AS old NEW TABLE AS new
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');

CREATE TRIGGER notify_on_delete
    AFTER DELETE ON storage_repositories
    REFERENCING OLD TABLE AS old
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
