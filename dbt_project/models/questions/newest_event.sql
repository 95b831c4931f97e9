with

receipts as (

    select
        received_at,
        received_on
    from {{ ref('stg_email_sends') }}

    union all

    select
        received_at,
        received_on
    from {{ ref('stg_email_opens') }}

    union all

    select
        received_at,
        received_on
    from {{ ref('stg_email_clicks') }}

    union all

    select
        received_at,
        received_on
    from {{ ref('stg_email_bounces') }}

    union all

    select
        received_at,
        received_on
    from {{ ref('stg_email_complaints') }}

    union all

    select
        received_at,
        received_on
    from {{ ref('stg_email_unsubscribes') }}

),

newest as (

    select max(received_at) as received_at
    from receipts
    where {{ received_since_start() }}

)

select * from newest
