{# The raw tables of events. #}
{% macro event_tables() -%}
    {%- do return([
        'email_sends',
        'email_opens',
        'email_clicks',
        'email_bounces',
        'email_complaints',
        'email_unsubscribes',
    ]) -%}
{%- endmacro %}
