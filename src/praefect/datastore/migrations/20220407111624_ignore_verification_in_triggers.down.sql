CREATE OR REPLACE FUNCTION notify_on_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes jsonb;
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        SELECT jsonb_agg(
            jsonb_build_object('virtual_storage', virtual_storage, 'relative_paths', paths) ORDER BY virtual_storage
        )
        INTO changes
        FROM (
            SELECT virtual_storage, jsonb_agg(DISTINCT relative_path) AS paths
            FROM new
            GROUP BY virtual_storage
        ) AS per_virtual_storage;
    WHEN 'UPDATE' THEN
        SELECT jsonb_agg(
            jsonb_build_object('virtual_storage', virtual_storage, 'relative_paths', paths) ORDER BY virtual_storage
        )
        INTO changes
        FROM (
            SELECT virtual_storage, jsonb_agg(DISTINCT relative_path) AS paths
            FROM new
            FULL JOIN old USING (virtual_storage, relative_path)
            GROUP BY virtual_storage
        ) AS per_virtual_storage;
    WHEN 'DELETE' THEN
        SELECT jsonb_agg(
            jsonb_build_object('virtual_storage', virtual_storage, 'relative_paths', paths) ORDER BY virtual_storage
        )
        INTO changes
        FROM (
            SELECT virtual_storage, jsonb_agg(DISTINCT relative_path) AS paths
            FROM old
            GROUP BY virtual_storage
        ) AS per_virtual_storage;
    END CASE;
    IF changes IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[TG_NARGS - 1], changes::text);
    END IF;
    RETURN NULL;
END
$$;
