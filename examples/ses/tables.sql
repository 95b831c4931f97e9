-- The events that Amazon SES publishes through SNS, as the raw tables of Event Based Export, in
-- the folder incoming/. Runs in DuckDB, in this folder.

-- SNS wraps each event as a text. Its Timestamp is the time at which SES published the event:
-- received_at. The time inside a bounce or complaint is that of the receiving provider.
create temp table published as
select
    "MessageId" as message_id,
    "Timestamp" as received_at,
    "Message"::json as event
from read_json('notifications.jsonl', format = 'newline_delimited', columns = {
    MessageId: 'varchar', "Timestamp": 'timestamptz', Message: 'varchar'
});

-- One row per event and recipient. A bounce and a complaint name the recipients that they concern;
-- every other event concerns all recipients of the mail.
create temp table recipients as
select
    *,
    event ->> 'eventType' as kind,
    unnest(
        case event ->> 'eventType'
            when 'Bounce' then event -> '$.bounce.bouncedRecipients[*]'
            when 'Complaint' then event -> '$.complaint.complainedRecipients[*]'
            else event -> '$.mail.destination[*]'
        end
    ) as recipient
from published;

-- The values that every event has. Message tags (here brand, mailing, customer) are lists in mail.tags.
create temp table events as
select
    event,
    kind,
    recipient,
    coalesce(recipient ->> 'emailAddress', recipient ->> '$') as address,
    {
        -- A notification that SNS delivers again has the same id.
        event_id: message_id || '-' || left(md5(address), 8),
        brand: event ->> '$.mail.tags.brand[0]',
        broadcast_id: coalesce(event ->> '$.mail.tags.mailing[0]', 'transactional'),
        customer_id: coalesce(event ->> '$.mail.tags.customer[0]', address),
        email_address: address,
        occurred_at: coalesce(
            event ->> ('$.' || lower(kind) || '.timestamp'), event ->> '$.mail.timestamp'
        ),
        received_at: received_at
    } as common,
    case
        when event ->> ('$.' || lower(kind) || '.userAgent') like '%Android%' then 'Android'
        when event ->> ('$.' || lower(kind) || '.userAgent') like '%iPhone%' then 'iOS'
        when event ->> ('$.' || lower(kind) || '.userAgent') like '%Windows%' then 'Windows'
    end as os
from recipients;

copy (
    select common.* from events where kind = 'Send'
) to 'incoming/email_sends.parquet';

copy (
    select common.*, os from events where kind = 'Open'
) to 'incoming/email_opens.parquet';

copy (
    select common.*, event ->> '$.click.link' as url, os
    from events
    where kind = 'Click'
) to 'incoming/email_clicks.parquet';

-- Transient: SES tried several times and gave up. Undetermined counts as soft too.
copy (
    select
        common.*,
        if(event ->> '$.bounce.bounceType' = 'Permanent', 'hard', 'soft') as bounce_type,
        recipient ->> 'diagnosticCode' as message
    from events
    where kind = 'Bounce'
) to 'incoming/email_bounces.parquet';

-- The feedback type not-spam withdraws a complaint, so it is not a complaint.
copy (
    select common.*, event ->> '$.complaint.complaintFeedbackType' as message
    from events
    where kind = 'Complaint' and message is distinct from 'not-spam'
) to 'incoming/email_complaints.parquet';

copy (
    select common.*, true as via_default_campaign
    from events
    where
        kind = 'Subscription'
        and (event ->> '$.subscription.newTopicPreferences.unsubscribeAll')::boolean
) to 'incoming/email_unsubscribes.parquet';

-- Not exported, because the files have no activity for them: Delivery, DeliveryDelay, Reject,
-- Rendering Failure, and a Subscription to more topics.

-- Mailings and contacts come from the system that creates the mailings, not from SES.
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
