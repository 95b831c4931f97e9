with

broadcasts as (

    select * from {{ ref('stg_broadcasts') }}

),

activities as (

    select * from {{ ref('activities_daily') }}

),

email_broadcasts as (

    select * from broadcasts
    where channel = 'email'

),

carried_out as (

    select
        brand,
        broadcast_id
    from email_broadcasts
    where
        greatest(sent_on, received_at) >= {{ window_start() }}
        and greatest(sent_on, received_at) < {{ window_end() }}

),

touched as (

    select distinct
        brand,
        broadcast_id
    from activities

),

-- A union of the two reasons: the same rule written with `or` is many times slower.
reasons as (

    select
        brand,
        broadcast_id,
        1 as carried_out,
        0 as touched
    from carried_out

    union all

    select
        brand,
        broadcast_id,
        0 as carried_out,
        1 as touched
    from touched

),

listed as (

    select
        brand,
        broadcast_id,
        max(carried_out) = 1 as is_carried_out,
        max(touched) = 1 as is_touched
    from reasons
    group by
        brand,
        broadcast_id

),

exported as (

    select
        email_broadcasts.brand,
        email_broadcasts.broadcast_id,
        email_broadcasts.broadcast_type,
        email_broadcasts.description,
        email_broadcasts.subject,
        email_broadcasts.sent_on,
        listed.is_carried_out,
        listed.is_touched
    from listed
    inner join email_broadcasts
        on
            listed.brand = email_broadcasts.brand
            and listed.broadcast_id = email_broadcasts.broadcast_id

)

select * from exported
