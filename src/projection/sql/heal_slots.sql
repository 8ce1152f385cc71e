-- Removes all lanes if this cluster hashes aggregate ids differently than the one that split them.
-- role: foldlog_projection
select foldlog.heal_slots()
