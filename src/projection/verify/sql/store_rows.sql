-- What the table would store of these rows.
-- $1 text rows as a JSON array
-- returns rows (id, viewed, viewed_version)
-- role: foldlog_projection
select v.id, to_json(v.*) as viewed, v.version as viewed_version
from json_populate_recordset(null::foldlog."{table}", $1::text::json) v
