with

brands_of_rows as (

    select brand from {{ ref('stg_broadcasts') }}

    union all

    select brand from {{ ref('stg_customers') }}

    union all

    select brand from {{ ref('stg_email_sends') }}

    union all

    select brand from {{ ref('stg_email_opens') }}

    union all

    select brand from {{ ref('stg_email_clicks') }}

    union all

    select brand from {{ ref('stg_email_bounces') }}

    union all

    select brand from {{ ref('stg_email_complaints') }}

    union all

    select brand from {{ ref('stg_email_unsubscribes') }}

),

known as (

    select distinct brand
    from brands_of_rows
    where brand in ({{ named_brands() }})

)

select * from known
