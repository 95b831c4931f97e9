BEGIN TRANSACTION;
CREATE TABLE activities (
	export VARCHAR(300) NOT NULL,
	window_start DATETIME NOT NULL,
	window_end DATETIME NOT NULL,
	revision INTEGER NOT NULL,
	activity VARCHAR NOT NULL,
	rows BIGINT NOT NULL,
	PRIMARY KEY (export, window_start, window_end, revision, activity)
)
 WITHOUT ROWID
;
INSERT INTO "activities" VALUES('ACME daily','2026-10-24 22:00:00.000000','2026-10-25 23:00:00.000000',1,'click',1);
INSERT INTO "activities" VALUES('ACME daily','2026-10-24 22:00:00.000000','2026-10-25 23:00:00.000000',1,'open',2);
CREATE TABLE deliveries (
	export VARCHAR(300) NOT NULL,
	window_start DATETIME NOT NULL,
	window_end DATETIME NOT NULL,
	revision INTEGER NOT NULL,
	destination VARCHAR(200) NOT NULL,
	path VARCHAR(1000) NOT NULL,
	kind VARCHAR(20) NOT NULL,
	position INTEGER NOT NULL,
	bytes BIGINT NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	rename_sent BOOLEAN NOT NULL,
	delivered_at DATETIME,
	PRIMARY KEY (export, window_start, window_end, revision, destination, path)
);
INSERT INTO "deliveries" VALUES('ACME daily','2026-10-24 22:00:00.000000','2026-10-25 23:00:00.000000',1,'there','b.csv','broadcast',0,10,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',1,'2026-10-26 05:00:02.000000');
INSERT INTO "deliveries" VALUES('ACME daily','2026-10-24 22:00:00.000000','2026-10-25 23:00:00.000000',1,'there','a.csv','activity',1,5000000000,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,'2026-10-26 05:00:03.500000');
CREATE TABLE failures (
	export VARCHAR(300) NOT NULL,
	window_start DATETIME NOT NULL,
	window_end DATETIME NOT NULL,
	revision INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	status VARCHAR(20) NOT NULL,
	reason VARCHAR(1000) NOT NULL,
	first_at DATETIME NOT NULL,
	last_at DATETIME NOT NULL,
	times INTEGER NOT NULL,
	PRIMARY KEY (export, window_start, window_end, revision, digest)
);
INSERT INTO "failures" VALUES('Ünïcode daily','2026-10-25 23:00:00.000000','2026-10-26 23:00:00.000000',1,'52059570b6847a8fdcc478e761baa1bdf561e4c0bb0a96bd63452ca4bcf03c38','failed','a server''s word','2026-10-27 06:00:00.000000','2026-10-27 07:30:00.000000',2);
CREATE TABLE recounts (
	export VARCHAR(300) NOT NULL,
	window_start DATETIME NOT NULL,
	window_end DATETIME NOT NULL,
	revision INTEGER NOT NULL,
	choice VARCHAR(1000) NOT NULL,
	counted_at DATETIME,
	activity_rows BIGINT,
	broadcast_rows BIGINT,
	PRIMARY KEY (export, window_start, window_end, revision)
);
INSERT INTO "recounts" VALUES('ACME daily','2026-10-24 22:00:00.000000','2026-10-25 23:00:00.000000',1,'all include','2026-10-26 05:00:01.234567',4,1);
CREATE TABLE removals (
	destination VARCHAR(200) NOT NULL,
	path VARCHAR(1000) NOT NULL,
	removed_at DATETIME NOT NULL,
	PRIMARY KEY (destination, path)
);
INSERT INTO "removals" VALUES('there','old.csv','2026-10-26 05:00:01.234567');
CREATE TABLE windows (
	export VARCHAR(300) NOT NULL,
	window_start DATETIME NOT NULL,
	window_end DATETIME NOT NULL,
	revision INTEGER NOT NULL,
	scheduled BOOLEAN NOT NULL,
	state VARCHAR(20) NOT NULL,
	activity_rows BIGINT,
	broadcast_rows BIGINT,
	updated_at DATETIME NOT NULL,
	PRIMARY KEY (export, window_start, window_end, revision)
);
INSERT INTO "windows" VALUES('Ünïcode daily','2026-10-25 23:00:00.000000','2026-10-26 23:00:00.000000',1,0,'planned',NULL,NULL,'2026-10-26 05:00:01.234567');
INSERT INTO "windows" VALUES('ACME daily','2026-10-24 22:00:00.000000','2026-10-25 23:00:00.000000',1,1,'delivered',3,1,'2026-10-26 05:00:01.234567');
COMMIT;
