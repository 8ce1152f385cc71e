-- Whether appends with this build's definition of the view are folded into this generation.
-- $1 text lock domain
-- returns bool
-- role: foldlog_projection
-- uses: views_pkey
select {serves} and exists (select from foldlog.views g where g.name = $1 and g.state = 'live')
