{# The columns of an event, in order, with their types: text, instant or boolean.
   Every stg_email_* model selects these columns, so int_activities can unite the six models with
   `select *`. Receipts of one event that came in at the same moment are ordered by these columns,
   so add a new column at the end: then the receipts that count today count tomorrow. #}
{% macro event_columns() -%}
    {%- do return({
        'brand': 'text',
        'event_id': 'text',
        'received_at': 'instant',
        'occurred_at': 'instant',
        'broadcast_id': 'text',
        'customer_id': 'text',
        'email_address': 'text',
        'bounce_type': 'text',
        'url': 'text',
        'message': 'text',
        'os': 'text',
        'is_machine': 'boolean',
        'is_test': 'boolean',
        'via_default_campaign': 'boolean',
    }) -%}
{%- endmacro %}
