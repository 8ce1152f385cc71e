-- Lost: who has skipped which event, and why. Skipped events stay claimed.
drop table skipped;
