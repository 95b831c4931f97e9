with

receipts as (

    {% for table in event_tables() -%}
        select received_at{% if var('received_on_column', none) %}, received_on{% endif %}
        from {{ ref('stg_' ~ table) }}
        {%- if not loop.last %}

        union all

        {% endif -%}
    {%- endfor %}

)

-- The bounds are literals, because engines use zone maps and indexes for literals alone.
select max(received_at) as received_at
from receipts
where
    received_at >= {{ window_start() }}
    {%- if var('received_on_column', none) %}
        and received_on >= date '{{ export_window().start.date() }}'
    {%- endif %}
