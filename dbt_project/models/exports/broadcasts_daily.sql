with

broadcasts as (

    select * from {{ ref('stg_broadcasts') }}

),

activities as (

    select * from {{ ref('activities_daily') }}

),

-- A broadcast that the platform registered after it was sent counts as carried out when it was
-- registered. Otherwise it would belong to a window that is delivered already.
email_broadcasts as (

    select
        *,
        greatest(sent_on, received_at) as carried_out_at
    from broadcasts
    where channel = 'email'

),

carried_out as (

    select
        brand,
        broadcast_id
    from email_broadcasts
    where
        carried_out_at >= {{ window_start() }}
        and carried_out_at < {{ window_end() }}

),

touched as (

    select distinct
        brand,
        broadcast_id
    from activities

),

-- A union, because the same rule with `or` in the `where` is many times slower.
listed as (

    select * from carried_out

    union

    select * from touched

),

exported as (

    select
        email_broadcasts.brand,
        email_broadcasts.broadcast_id,
        email_broadcasts.broadcast_type,
        email_broadcasts.description,
        email_broadcasts.subject,
        email_broadcasts.sent_on,
        email_broadcasts.carried_out_at >= {{ window_start() }}
        and email_broadcasts.carried_out_at < {{ window_end() }} as is_carried_out,
        touched.broadcast_id is not null as is_touched
    from listed
    inner join email_broadcasts
        on
            listed.brand = email_broadcasts.brand
            and listed.broadcast_id = email_broadcasts.broadcast_id
    left join touched
        on
            listed.brand = touched.brand
            and listed.broadcast_id = touched.broadcast_id

)

select * from exported
