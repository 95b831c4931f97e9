with

activities as (

    select * from {{ ref('int_activities') }}

),

broadcasts as (

    select * from {{ ref('stg_broadcasts') }}

),

customers as (

    select * from {{ ref('stg_customers') }}

),

-- Activities of an unknown broadcast are kept, so that nothing is lost. The condition is not
-- `coalesce(channel, 'email') = 'email'`, because PostgreSQL would estimate that almost no row is
-- left, and choose a slow plan.
email_activities as (

    select activities.*
    from activities
    left join broadcasts
        on
            activities.brand = broadcasts.brand
            and activities.broadcast_id = broadcasts.broadcast_id
    where broadcasts.channel = 'email' or broadcasts.channel is null

),

exported as (

    select
        email_activities.brand,
        email_activities.event_id,
        email_activities.received_at,
        email_activities.broadcast_id,
        email_activities.customer_id,
        customers.external_customer_number,
        coalesce(email_activities.email_address, customers.email_address) as email_address,
        email_activities.activity,
        email_activities.occurred_at as activity_date,
        email_activities.description,
        email_activities.os,
        email_activities.url,
        email_activities.is_machine
    from email_activities
    left join customers
        on
            email_activities.brand = customers.brand
            and email_activities.customer_id = customers.customer_id

)

select * from exported
