alter table recounts add column keys varchar
