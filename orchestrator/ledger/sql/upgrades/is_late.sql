alter table recounts add column is_late boolean
