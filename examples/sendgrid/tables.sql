-- SendGrid's webhook events as the raw tables of Event Based Export, in the folder incoming/.
-- Runs in DuckDB, in this folder.

-- A webhook posts an array of events. The web server that receives it stores the array unchanged,
-- together with the time of arrival, received_at.
create temp table posted as
select
    received_at,
    unnest(events) as event
from read_json('webhooks.jsonl', format = 'newline_delimited', columns = {
    received_at: 'timestamptz', events: 'json[]'
});

-- The values that every event has. Custom arguments (here brand, mailing, customer_id) are keys of the event.
create temp table events as
select
    event,
    event ->> 'event' as kind,
    {
        event_id: event ->> 'sg_event_id',
        brand: event ->> 'brand',
        broadcast_id: coalesce(event ->> 'mailing', 'transactional'),
        customer_id: coalesce(event ->> 'customer_id', event ->> 'email'),
        email_address: event ->> 'email',
        occurred_at: to_timestamp((event ->> 'timestamp')::bigint),
        received_at: received_at
    } as common,
    case
        when event ->> 'useragent' like '%iPhone%' or event ->> 'useragent' like '%iPad%' then 'iOS'
        when event ->> 'useragent' like '%Android%' then 'Android'
        when event ->> 'useragent' like '%Windows%' then 'Windows'
        when event ->> 'useragent' like '%Macintosh%' then 'macOS'
    end as os
from posted;

copy (
    select common.* from events where kind = 'processed'
) to 'incoming/email_sends.parquet';

copy (
    select common.*, os, (event ->> 'sg_machine_open')::boolean as is_machine
    from events
    where kind = 'open'
) to 'incoming/email_opens.parquet';

copy (
    select common.*, event ->> 'url' as url, os
    from events
    where kind = 'click'
) to 'incoming/email_clicks.parquet';

-- A bounce of the type `blocked` is temporary: the address may work again.
copy (
    select
        common.*,
        if(
            event ->> 'type' = 'bounce' and event ->> 'status' like '5%', 'hard', 'soft'
        ) as bounce_type,
        event ->> 'reason' as message
    from events
    where kind = 'bounce'
) to 'incoming/email_bounces.parquet';

copy (
    select common.* from events where kind = 'spamreport'
) to 'incoming/email_complaints.parquet';

copy (
    select common.*, true as via_default_campaign
    from events
    where kind in ('unsubscribe', 'group_unsubscribe')
) to 'incoming/email_unsubscribes.parquet';

-- Not exported, because the files have no activity for them: delivered, deferred, dropped and
-- group_resubscribe.

-- Mailings and contacts come from the system that creates the mailings, not from the webhook.
copy (
    select
        brand,
        mailing as broadcast_id,
        'email' as channel,
        kind as broadcast_type,
        name as description,
        subject,
        send_at as sent_on,
        created_at as received_at
    from read_csv('mailings.csv')
) to 'incoming/broadcasts.parquet';

copy (
    select brand, id as customer_id, crm_number as external_customer_number, email as email_address
    from read_csv('contacts.csv', all_varchar = true)
) to 'incoming/customers.parquet';
