-- The storages that at least half of the live Praefects have seen working lately. A Praefect is alive for a virtual
-- storage if it tried to reach any of its storages within the last minute.
CREATE VIEW healthy_storages AS
SELECT seen.shard_name AS virtual_storage, seen.node_name AS storage
FROM node_status AS seen
JOIN (
    SELECT shard_name, count(DISTINCT praefect_name) AS praefects
    FROM node_status
    WHERE last_contact_attempt_at >= now() - interval '60 seconds'
    GROUP BY shard_name
) AS voters ON voters.shard_name = seen.shard_name
WHERE seen.last_seen_active_at >= now() - interval '10 seconds'
GROUP BY seen.shard_name, seen.node_name, voters.praefects
HAVING 2 * count(seen.praefect_name) >= voters.praefects
ORDER BY seen.shard_name, seen.node_name;
