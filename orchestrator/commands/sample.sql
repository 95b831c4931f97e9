-- Sample data: four brands, a year of broadcasts, and some 200,000 events until today.
-- hash() is used in place of random numbers, so that the same day gives the same data.

create temp table brands as
select * from (values
    ('BRANDNAAM', 1),
    ('NORDLICHT', 2),
    ('CAFÉ ROUGE', 3),
    ('OTHER', 4)
) as brands (brand, brand_number);

create table customers as
select
    brand,
    'C' || (100000 * brand_number + number) as customer_id,
    if(hash(brand, number, 'crm') % 10 < 8, 'CRM-' || (7000000 + 31 * number), null) as external_customer_number,
    if(hash(brand, number, 'erased') % 100 = 0, null,
        lower(['anna', 'bram', 'chloé', 'daan', 'emma', 'finn', 'zoë', 'jan'][1 + cast(hash(brand, number) % 8 as integer)])
        || number || '@example.' || ['com', 'org', 'net'][1 + cast(hash(number) % 3 as integer)]) as email_address
from brands, range(1, 1501) as numbers (number);

create table broadcasts as
select
    brand,
    'B' || (10000 * brand_number + day) as broadcast_id,
    if(hash(brand, day, 'channel') % 25 = 0, 'sms', 'email') as channel,
    ['SINGLE', 'CAMPAIGN', 'QUICKMAIL', 'SPLITRUN'][1 + cast(hash(brand, day, 'type') % 4 as integer)] as broadcast_type,
    ['Newsletter', 'Welcome, part 2', 'Abandoned "basket"', 'Zomeractie'][1 + cast(hash(brand, day) % 4 as integer)]
        || ' ' || strftime(current_date - cast(day as integer), '%Y-%m-%d') as description,
    ['{$customer.firstname|default:"Hallo"}, 3 tips', 'Alleen vandaag: 20% korting 🎉', 'Neues aus dem Norden; nur für Sie',
        'Votre café vous attend'][1 + cast(hash(brand, day, 'subject') % 4 as integer)] as subject,
    (current_date - cast(day as integer))::timestamp at time zone 'UTC' + interval 9 hours
        + to_minutes(cast(hash(brand, day, 'minute') % 240 as integer)) as sent_on,
    sent_on - interval 1 hour as received_at
from brands, range(1, 366) as days (day)
where day % 4 = brand_number % 4 or day = 1;

create temp table sends as
select
    broadcasts.brand,
    broadcasts.broadcast_id,
    customers.customer_id,
    customers.email_address,
    broadcasts.sent_on,
    hash(broadcast_id, customers.customer_id) as chance,
    -- Most opens follow within hours; some come weeks and months later.
    to_seconds(cast(power(hash(broadcast_id, customers.customer_id, 'delay') % 1000 / 1000.0, 9) * 200 * 86400 as bigint) + 60) as delay
from broadcasts
inner join customers on broadcasts.brand = customers.brand
where
    broadcasts.channel = 'email'
    and hash(broadcast_id, customers.customer_id, 'audience') % 100 < 24;

-- One row per event: the share is the number of events per thousand sends.
create temp table events as
select
    sends.*,
    kinds.kind,
    hash(sends.chance, kinds.kind) as luck,
    sends.sent_on + if(kinds.kind = 'email_sends', interval 1 minute, kinds.pause + sends.delay) as occurred_at,
    -- One bounce in ten arrives a day or two later.
    occurred_at + if(kinds.kind = 'email_bounces' and luck % 10 = 0, interval 40 hours, interval 5 seconds) as received_at
from sends
inner join (values
    ('email_sends', 1000, interval 0 minutes),
    ('email_opens', 450, interval 4 minutes),
    ('email_clicks', 120, interval 6 minutes),
    ('email_bounces', 20, interval 2 minutes),
    ('email_complaints', 2, interval 30 minutes),
    ('email_unsubscribes', 8, interval 20 minutes)
) as kinds (kind, share, pause)
    on hash(sends.chance, kinds.kind, 'share') % 1000 < kinds.share;

delete from events where received_at > now();

create view common as
select
    kind,
    luck,
    'E' || luck as event_id,
    brand,
    broadcast_id,
    customer_id,
    email_address,
    occurred_at,
    received_at,
    luck % 500 = 0 as is_test
from events;

create table email_sends as
select * exclude (kind, luck) from common
where kind = 'email_sends';

create table email_opens as
select
    * exclude (kind, luck),
    ['iOS', 'Android', 'Windows', 'macOS', null][1 + cast(luck % 5 as integer)] as os,
    luck % 4 = 0 as is_machine
from common
where kind = 'email_opens';

create table email_clicks as
select
    * exclude (kind, luck),
    'https://www.example.com/' || ['sale', 'news', 'shop?item=12,34', 'unsubscribe'][1 + cast(luck % 4 as integer)] as url,
    ['iOS', 'Android', 'Windows', 'macOS', null][1 + cast(luck % 5 as integer)] as os,
    false as is_machine
from common
where kind = 'email_clicks';

create table email_bounces as
select
    * exclude (kind, luck),
    if(luck % 3 = 0, 'hard', 'soft') as bounce_type,
    if(luck % 3 = 0, '550 5.1.1 user unknown', '452 4.2.2 "mailbox full", try again later') as message
from common
where kind = 'email_bounces';

create table email_complaints as
select
    * exclude (kind, luck),
    'abuse report' as message
from common
where kind = 'email_complaints';

create table email_unsubscribes as
select
    * exclude (kind, luck),
    luck % 10 <> 0 as via_default_campaign
from common
where kind = 'email_unsubscribes';
