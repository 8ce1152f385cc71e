-- The results of verifications are lost; they can be repeated.
drop table differences;
drop table verifications;
